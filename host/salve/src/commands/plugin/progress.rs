//! What a build does, on standard error: nothing for the first two seconds, then a line for each step.

use crate::commands::output;
use salve_authoring::Progress;
use salve_model::text::escape;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is over sooner needs no words.
const QUIET: Duration = Duration::from_secs(2);
/// Time between two signs of life of a step that takes long.
const STILL: Duration = Duration::from_secs(10);

/// Tells the steps of a build. The thread that tells ends with it.
pub struct Shown {
    shared: Arc<Shared>,
    verbose: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    began: Instant,
    /// Steps not told yet, with the time at which each began.
    waiting: Vec<(Duration, String)>,
    latest: String,
    told: bool,
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self) {
        for (at, step) in self.waiting.drain(..) {
            output::complain(&format!("{:>5.1} s  {step}", at.as_secs_f64()));
        }
        self.told = true;
    }
}

impl Shown {
    /// Begins. `verbose`: everything at once, with the tools' own lines.
    pub fn new(verbose: bool) -> Self {
        let state = State {
            began: Instant::now(),
            waiting: Vec::new(),
            latest: String::new(),
            told: verbose,
            over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let of_thread = shared.clone();
        std::thread::spawn(move || watch(&of_thread));
        Self { shared, verbose }
    }

    /// Seconds since it began.
    pub fn elapsed(&self) -> Duration {
        self.shared.lock().began.elapsed()
    }
}

/// Breaks the silence after two seconds, and again whenever a step takes long.
fn watch(shared: &Shared) {
    let mut pause = QUIET;
    let mut state = shared.lock();
    loop {
        let latest = state.latest.clone();
        let (now, waited) = shared.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
        state = now;
        if state.over {
            return;
        }
        if !state.told {
            if state.began.elapsed() >= QUIET {
                state.tell();
            }
        } else if waited.timed_out() && latest == state.latest {
            output::complain(&format!("{:>5.1} s  still: {latest}", state.began.elapsed().as_secs_f64()));
        }
        pause = if state.told { STILL } else { QUIET.saturating_sub(state.began.elapsed()) };
    }
}

impl Progress for Shown {
    fn step(&mut self, what: &str) {
        let mut state = self.shared.lock();
        let at = state.began.elapsed();
        state.latest = escape(what, 200);
        let step = state.latest.clone();
        state.waiting.push((at, step));
        if state.told {
            state.tell();
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn line(&mut self, line: &str) {
        if self.verbose {
            output::complain(&format!("         {}", escape(line, 300)));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
    }
}
