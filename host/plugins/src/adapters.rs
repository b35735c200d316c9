//! One adapter for each served version of the contract: the only code that knows a version's interfaces by name.

pub(crate) mod v0_1_0;
