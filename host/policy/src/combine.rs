//! Many policies, one decision: any `never` wins, then priority, then name, then the order of the rows.

use crate::error::nearest;
use salve_model::{
    TargetId,
    incident::{CatalogueEntry, Decision, Proposal, Rejected, Verdict},
};
use std::collections::HashMap;

/// Puts `proposals`, in the order of the policies' names and rows, into the order in which they are to be tried, and says
/// of each one that lost why.
pub(crate) fn combine(
    policy_digest: String,
    mut proposals: Vec<Proposal>,
    catalogue: &[CatalogueEntry],
) -> Decision {
    // Stable: names and rows keep their order among equals.
    proposals.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.policy.cmp(&b.policy)));
    let (forbidding, proposals): (Vec<_>, Vec<_>) =
        proposals.into_iter().partition(|proposal| proposal.verdict == Verdict::Never);
    let mut decision = Decision { policy_digest, ..Decision::default() };
    let mut taken: HashMap<(String, TargetId, String), (String, Verdict)> = HashMap::new();
    for proposal in proposals {
        let same = (proposal.action.clone(), proposal.target.clone(), proposal.parameters.clone());
        let why =
            forbidden(&proposal, &forbidding).or_else(|| impossible(&proposal, catalogue)).or_else(|| {
                let (policy, verdict) = taken.get(&same)?;
                Some(format!("policy `{policy}` comes first and says `{}` to the same", word(*verdict)))
            });
        match why {
            Some(why) => decision.rejected.push(Rejected { proposal, why }),
            None => {
                taken.insert(same, (proposal.policy.clone(), proposal.verdict));
                decision.proposals.push(proposal);
            }
        }
    }
    decision
}

/// To wait does nothing, so nothing of it can be forbidden or impossible; but for a remedy that is, nobody need wait.
fn waits_for_anything(proposal: &Proposal) -> bool {
    proposal.verdict == Verdict::Wait && (proposal.action == "*" || proposal.target.0 == "*")
}

fn forbidden(proposal: &Proposal, forbidding: &[Proposal]) -> Option<String> {
    if waits_for_anything(proposal) {
        return None;
    }
    let matches = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    let never = forbidding.iter().find(|never| {
        matches(&never.action, &proposal.action) && matches(&never.target.0, &proposal.target.0)
    })?;
    let mut why = format!("policy `{}` says `never`", never.policy);
    if !never.reason.is_empty() {
        why.push_str(": ");
        why.push_str(&never.reason);
    }
    Some(why)
}

/// An action that is not loaded, or not granted there, cannot be tried.
fn impossible(proposal: &Proposal, catalogue: &[CatalogueEntry]) -> Option<String> {
    if waits_for_anything(proposal) {
        return None;
    }
    let Some(entry) = catalogue.iter().find(|entry| entry.action == proposal.action) else {
        let known = catalogue.iter().map(|entry| entry.action.as_str());
        return Some(match nearest(&proposal.action, known) {
            Some(known) => format!("no action `{}` is loaded; did you mean `{known}`?", proposal.action),
            None => format!("no action `{}` is loaded", proposal.action),
        });
    };
    (!entry.targets.contains(&proposal.target))
        .then(|| format!("action `{}` is granted nothing on target `{}`", proposal.action, proposal.target))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Act => "act",
        Verdict::Ask => "ask",
        Verdict::Wait => "wait",
        Verdict::Never => "never",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proposal(policy: &str, verdict: Verdict, action: &str, target: &str, priority: i64) -> Proposal {
        Proposal {
            policy: policy.into(),
            verdict,
            action: action.into(),
            target: TargetId(target.into()),
            parameters: "{}".into(),
            priority,
            reason: String::new(),
        }
    }

    fn catalogue() -> Vec<CatalogueEntry> {
        ["restart", "config"]
            .map(|action| CatalogueEntry {
                action: action.into(),
                summary: String::new(),
                targets: vec![TargetId("a".into()), TargetId("b".into())],
            })
            .to_vec()
    }

    /// Scenario: each way in which a proposal can lose.
    /// Guarantees: it loses to the right one, and the record says why.
    #[test]
    fn losers_know_why() {
        use Verdict::{Act, Ask, Never, Wait};
        let decision = combine(
            "digest".into(),
            vec![
                proposal("a", Act, "restart", "a", 1),
                proposal("a", Act, "restart", "b", 1),
                proposal("a", Ask, "restart", "b", 2),
                proposal("a", Act, "restat", "b", 1),
                proposal("a", Act, "scale-up", "b", 1),
                proposal("a", Act, "config", "c", 1),
                proposal("b", Never, "*", "a", -5),
                proposal("b", Wait, "*", "*", 0),
                proposal("b", Wait, "config", "a", 1),
                proposal("b", Wait, "config", "c", 1),
                proposal("b", Act, "config", "b", 2),
            ],
            &catalogue(),
        );
        let tried: Vec<_> =
            decision.proposals.iter().map(|p| (p.policy.as_str(), p.verdict, p.action.as_str())).collect();
        assert_eq!(tried, [("a", Ask, "restart"), ("b", Act, "config"), ("b", Wait, "*")]);
        let whys: Vec<_> = decision.rejected.iter().map(|rejected| rejected.why.as_str()).collect();
        assert_eq!(
            whys,
            [
                "policy `b` says `never`",
                "policy `a` comes first and says `ask` to the same",
                "no action `restat` is loaded; did you mean `restart`?",
                "no action `scale-up` is loaded",
                "action `config` is granted nothing on target `c`",
                "policy `b` says `never`",
                "action `config` is granted nothing on target `c`",
            ]
        );
    }

    fn any_proposal() -> impl Strategy<Value = Proposal> {
        let verdict = prop::sample::select(vec![Verdict::Act, Verdict::Ask, Verdict::Wait, Verdict::Never]);
        let name = |names: &[&'static str]| prop::sample::select(names.to_vec());
        (name(&["x", "y"]), verdict, name(&["restart", "config", "*"]), name(&["a", "b", "c", "*"]), -2i64..3)
            .prop_map(|(policy, verdict, action, target, priority)| {
                proposal(policy, verdict, action, target, priority)
            })
    }

    proptest! {
        /// Guarantees: nothing that a `never` matches is ever tried, whatever its priority; nothing is lost; the order
        /// is that of priority, then name; the order in which policies were asked does not matter between policies.
        #[test]
        fn never_wins(proposals in prop::collection::vec(any_proposal(), 0..12)) {
            let decision = combine(String::new(), proposals.clone(), &catalogue());
            let never = proposals.iter().filter(|p| p.verdict == Verdict::Never).count();
            prop_assert_eq!(decision.proposals.len() + decision.rejected.len() + never, proposals.len());
            for tried in decision.proposals.iter().filter(|p| p.verdict != Verdict::Wait) {
                for never in proposals.iter().filter(|p| p.verdict == Verdict::Never) {
                    let action = never.action == "*" || never.action == tried.action;
                    let target = never.target.0 == "*" || never.target == tried.target;
                    prop_assert!(!(action && target));
                }
            }
            let keys: Vec<_> = decision.proposals.iter().map(|p| (-p.priority, p.policy.clone())).collect();
            prop_assert!(keys.is_sorted());
            let mut by_policy = proposals;
            by_policy.sort_by(|a, b| b.policy.cmp(&a.policy));
            prop_assert_eq!(combine(String::new(), by_policy, &catalogue()).proposals, decision.proposals);
        }
    }
}
