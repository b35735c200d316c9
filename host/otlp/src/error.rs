//! Why bytes are not OTLP.

use std::fmt;

/// Bytes that are not the OTLP request they should be, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    /// Outermost first, for instance `resource_metrics[0].scope_metrics[2]`; empty for the request itself.
    path: String,
    problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The message ends within a field.
    #[error("it ends in the middle of a field")]
    Truncated,
    /// Field number 0 or too large, or a wire type that does not exist.
    #[error("it has a field with an impossible number or wire type")]
    Tag,
    /// A varint of more than 64 bits.
    #[error("it has a number longer than 64 bits")]
    Varint,
    /// A deprecated group.
    #[error("field {number} is a group, which OTLP does not use")]
    Group {
        /// Field number.
        number: u32,
    },
    /// A known field with another type than OTLP gives it.
    #[error("field {number} has wire type {found} where OTLP has {expected}")]
    WireType {
        /// Field number.
        number: u32,
        /// As sent.
        found: u8,
        /// As OTLP defines it.
        expected: u8,
    },
    /// Text that is not UTF-8.
    #[error("field {number} is not UTF-8")]
    Utf8 {
        /// Field number.
        number: u32,
    },
    /// Packed fixed-width numbers whose length is not a multiple of their width.
    #[error("field {number} is packed and {length_bytes} bytes long, not a multiple of 8")]
    Packed {
        /// Field number.
        number: u32,
        /// As sent.
        length_bytes: usize,
    },
    /// A trace or span id of the wrong length.
    #[error("the id in field {number} has {found_bytes} bytes instead of {expected_bytes}")]
    IdLength {
        /// Field number.
        number: u32,
        /// As sent.
        found_bytes: usize,
        /// 16 or 8.
        expected_bytes: usize,
    },
    /// A field that may come once came again: readers would differ about what it means.
    #[error("field {number} comes more than once")]
    Repeated {
        /// Field number.
        number: u32,
    },
    /// Attribute values within values, deeper than [`crate::Limits::value_depth_max`].
    #[error("values are nested deeper than {depth_max}")]
    TooDeep {
        /// The limit.
        depth_max: u32,
    },
}

impl DecodeError {
    #[cold]
    pub(crate) fn new(problem: Problem) -> Self {
        Self(Box::new(Inner { path: String::new(), problem }))
    }

    /// Says in which field of the parent this happened. Called from the inside outwards.
    #[cold]
    pub(crate) fn within(mut self, field: &str, index: Option<usize>) -> Self {
        let mut path = match index {
            Some(index) => format!("{field}[{index}]"),
            None => field.to_owned(),
        };
        if !self.0.path.is_empty() {
            path.push('.');
            path.push_str(&self.0.path);
        }
        self.0.path = path;
        self
    }

    /// Where, outermost first, for instance `resource_metrics[0].scope_metrics[2].metrics[1]`; empty for the request.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// What is wrong there.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.0.path.is_empty() { "request" } else { &self.0.path };
        write!(f, "cannot decode `{path}`: {}", self.0.problem)
    }
}

impl std::error::Error for DecodeError {}
