//! Every chore is one command.
fn main() {}
