//! The macros that make a component of a crate.

/// Makes the crate a detector component. Does nothing in a native build.
#[macro_export]
macro_rules! export_detector {
    ($detector:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports of the canonical ABI, generated")]
        const _: () = {
            use $crate::bindings::detector::exports::salve::plugin::detect;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<::std::option::Option<$detector>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Component;

            impl detect::Guest for Component {
                fn configure(parameters: ::std::string::String) -> ::std::result::Result<(), ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| $crate::__glue::configure(instance, &parameters))
                }

                fn observe(batch: detect::Batch) -> ::std::result::Result<detect::Output, ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| $crate::__glue::observe(instance, &batch))
                }

                fn snapshot() -> ::std::result::Result<detect::State, ::std::string::String> {
                    INSTANCE.with_borrow(|instance| $crate::__glue::snapshot(instance))
                }

                fn restore(state: detect::State) -> ::std::result::Result<(), ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| $crate::__glue::restore(instance, &state))
                }
            }

            $crate::bindings::detector::export_detector_component!(Component with_types_in $crate::bindings::detector);
        };
    };
}

/// Makes the crate an agent component. Does nothing in a native build.
#[macro_export]
macro_rules! export_agent {
    ($agent:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports of the canonical ABI, generated")]
        const _: () = {
            use $crate::bindings::agent::exports::salve::plugin::consult;

            struct Component;

            impl consult::Guest for Component {
                fn consult(
                    incident: consult::Incident,
                    question: ::std::string::String,
                ) -> ::std::result::Result<consult::Findings, ::std::string::String> {
                    $crate::__glue::consult::<$agent>(&incident, &question)
                }
            }

    $crate::bindings::agent::export_agent_component!(Component with_types_in $crate::bindings::agent);
        };
    };
}

/// Makes the crate an action component. Does nothing in a native build.
#[macro_export]
macro_rules! export_action {
    ($action:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports of the canonical ABI, generated")]
        const _: () = {
            use $crate::bindings::action::exports::salve::plugin::act;

            struct Component;

            impl act::Guest for Component {
                fn plan(request: act::Request) -> ::std::result::Result<act::Proposal, act::Failure> {
                    $crate::__glue::plan::<$action>(request)
                }

                fn execute(
                    request: act::Request,
                    plan: act::Proposal,
                ) -> ::std::result::Result<act::Outcome, act::Failure> {
                    $crate::__glue::execute::<$action>(request, &plan)
                }

                fn undo(
                    request: act::Request,
                    plan: act::Proposal,
                    receipts: ::std::vec::Vec<act::Receipt>,
                ) -> ::std::result::Result<act::Outcome, act::Failure> {
                    $crate::__glue::undo::<$action>(request, &plan, &receipts)
                }
            }

            $crate::bindings::action::export_action_component!(Component with_types_in $crate::bindings::action);
        };
    };
}

/// What the macros expand to and the native tests call: the contract's calls on the author's trait. Not for authors.
#[doc(hidden)]
pub mod glue {
    use crate::{
        Action, Agent, Batch, Detector, Failure, Findings, Incident, Outcome, Output, Proposal, Receipt,
        Request, State, bindings::action::exports::salve::plugin::act,
    };
    use serde::de::DeserializeOwned;

    const NOT_CONFIGURED: &str = "`configure` was not called";

    /// Sends the message of a panic to the host's log before the trap, which has no text.
    fn report_panics() {
        #[cfg(target_arch = "wasm32")]
        {
            static ONCE: std::sync::Once = std::sync::Once::new();
            ONCE.call_once(|| {
                std::panic::set_hook(Box::new(|panic| {
                    crate::log::write(crate::log::Level::Error, &panic.to_string(), &[]);
                }));
            });
        }
    }

    fn parse<P: DeserializeOwned>(parameters: &str) -> Result<P, String> {
        let text = if parameters.is_empty() { "{}" } else { parameters };
        serde_json::from_str(text).map_err(|error| format!("parameters: {error}"))
    }

    pub fn configure<D: Detector>(instance: &mut Option<D>, parameters: &str) -> Result<(), String> {
        report_panics();
        *instance = Some(D::new(parse(parameters)?)?);
        Ok(())
    }

    pub fn observe<D: Detector>(instance: &mut Option<D>, batch: &Batch) -> Result<Output, String> {
        instance.as_mut().ok_or(NOT_CONFIGURED)?.observe(batch)
    }

    pub fn snapshot<D: Detector>(instance: &Option<D>) -> Result<State, String> {
        Ok(instance.as_ref().ok_or(NOT_CONFIGURED)?.snapshot())
    }

    pub fn restore<D: Detector>(instance: &mut Option<D>, state: &State) -> Result<(), String> {
        instance.as_mut().ok_or(NOT_CONFIGURED)?.restore(state)
    }

    pub fn consult<A: Agent>(incident: &Incident, question: &str) -> Result<Findings, String> {
        report_panics();
        A::consult(incident, question)
    }

    fn request<P: DeserializeOwned>(request: act::Request) -> Result<Request<P>, Failure> {
        Ok(Request {
            incident: request.incident,
            targets: request.targets,
            parameters: parse(&request.parameters).map_err(Failure::Invalid)?,
            started: request.started,
            now: request.now,
        })
    }

    pub fn plan<A: Action>(raw: act::Request) -> Result<Proposal, Failure> {
        report_panics();
        A::plan(&request(raw)?).map(Into::into)
    }

    pub fn execute<A: Action>(raw: act::Request, plan: &Proposal) -> Result<Outcome, Failure> {
        report_panics();
        A::execute(&request(raw)?, plan)
    }

    pub fn undo<A: Action>(
        raw: act::Request,
        plan: &Proposal,
        receipts: &[Receipt],
    ) -> Result<Outcome, Failure> {
        report_panics();
        A::undo(&request(raw)?, plan, receipts)
    }
}
