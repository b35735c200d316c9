//! The decision core: events in, transitions and effects out.

pub mod effect;
pub mod event;
pub mod settings;

pub use effect::Effect;
pub use event::Event;
pub use settings::Settings;
