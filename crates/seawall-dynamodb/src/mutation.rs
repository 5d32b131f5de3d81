//! The list of conditions with one deliberate mistake in it: see `seawall::mutation`.

use crate::item::text;
use crate::request::{Change, Values};
use seawall::mutation::{self, Mutation};
use seawall::ports::coordinator::Lease;

/// The whole condition of some mistakes.
const EPOCH: &str = "#epoch = :epoch";
/// What each change's condition begins with.
const EPOCH_AND: &str = "#epoch = :epoch AND ";

/// The change, with the mistake that is active now.
pub(crate) fn active(change: Change) -> Change {
    mutation::active().map_or(change, |mutation| with(mutation, change))
}

/// The values, and the lease's token, which the mistakes name. A request is sent with only the values that it names.
pub(crate) fn with_token(mut values: Values, lease: &Lease) -> Values {
    values.insert("token", text(lease.token));
    values
}

/// The change, with `mutation`'s mistake if it concerns this change.
fn with(mutation: Mutation, change: Change) -> Change {
    let condition = match (change.name, mutation) {
        ("swap", Mutation::SwapUnconditional) => EPOCH,
        ("swap", Mutation::SwapByToken) => {
            "#epoch = :epoch AND #lease = :token AND #version = :previous_version AND #commit = :previous_commit \
             AND #sweep = :sweep"
        }
        ("swap", Mutation::SwapWithoutLease) => {
            "#epoch = :epoch AND #version = :previous_version AND #commit = :previous_commit AND #sweep = :sweep"
        }
        ("release", Mutation::ReleaseUnconditional)
        | ("renew", Mutation::RenewTakesAny)
        | ("acquire", Mutation::AcquireTakesAny) => EPOCH,
        (_, Mutation::NoEpoch) => change.condition.strip_prefix(EPOCH_AND).expect("each names the epoch first"),
        _ => change.condition,
    };
    let effect = match (change.name, mutation) {
        ("renew", Mutation::RenewTakesAny) => "SET #lease = :token, #lease_until = :until, #lease_label = :label",
        _ => change.effect,
    };
    Change { condition, effect, ..change }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::changes::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_mistake_changes_what_it_is_about_and_nothing_else() {
        let changed = |mutation| -> BTreeSet<&str> {
            EVERY.into_iter().filter(|change| with(mutation, *change) != *change).map(|change| change.name).collect()
        };
        for mutation in [Mutation::SwapUnconditional, Mutation::SwapByToken, Mutation::SwapWithoutLease] {
            assert_eq!(changed(mutation), BTreeSet::from(["swap"]));
        }
        assert_eq!(changed(Mutation::ReleaseUnconditional), BTreeSet::from(["release"]));
        assert_eq!(changed(Mutation::RenewTakesAny), BTreeSet::from(["renew"]));
        assert_eq!(changed(Mutation::AcquireTakesAny), BTreeSet::from(["acquire"]));
        assert_eq!(changed(Mutation::NoEpoch).len(), 8);
        assert!(changed(Mutation::TimeoutIsFailure).is_empty());
    }
}
