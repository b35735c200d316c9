//! What is told while something takes long.

/// Hears what is being done.
pub trait Progress {
    /// A step begins, in words: `compiles to WebAssembly`.
    fn step(&mut self, what: &str);
    /// A line of a tool's output.
    fn line(&mut self, line: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _: &str) {}
    fn line(&mut self, _: &str) {}
}
