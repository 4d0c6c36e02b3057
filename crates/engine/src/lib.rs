//! The loops of watch and diagnose; the life of an incident; budgets.
