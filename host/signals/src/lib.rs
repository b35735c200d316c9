//! Checked telemetry in; bounded series, RED, service map and history out.
