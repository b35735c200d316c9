//! OTLP bytes in, checked telemetry out.
