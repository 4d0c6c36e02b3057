//! A live Go process or a core, from outside.
