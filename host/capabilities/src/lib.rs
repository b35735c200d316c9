//! Brokers that carry out effects on targets, and only what was granted.
