//! Rhai policies: incident and findings in, proposals out.
