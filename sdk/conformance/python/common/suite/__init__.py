"""What the three test plugins share; `sdk/conformance/README.md` says how each part behaves."""
