//! The requests to the table, and the one list of conditions.
//!
//! A request is data. The SDK sends it ([`crate::sdk`]); a simulator can carry it out by itself.

use crate::item::{Item, Value, names::*};
use std::collections::BTreeMap;

/// One conditional change of an item: a row of the design's table "The head", in DynamoDB's expressions. `#name` is an
/// attribute, `:name` a value of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The operation's name in the design.
    pub name: &'static str,
    /// Its condition. Each condition names the epoch. Therefore no change ever creates an item.
    pub condition: &'static str,
    /// Its update expression.
    pub effect: &'static str,
    /// Whether the answer contains the changed item.
    pub returns_item: bool,
}

/// The design's table. A late or repeated request finds another generation and is refused, because `gen` only ever
/// rises.
pub mod changes {
    use super::Change;

    /// The lease is free or has expired, and nobody waits; or it belongs to this very attempt.
    pub const ACQUIRE: Change = Change {
        name: "acquire",
        condition: "#epoch = :epoch AND ((attribute_not_exists(#lease) OR #lease_until < :now) \
                    AND (attribute_not_exists(#line_end) OR #line_front = #line_end) OR #lease = :token)",
        effect: GRANT,
        returns_item: true,
    };
    /// The lease is free or has expired, and this waiter is in front of the line, which it leaves.
    pub const ACQUIRE_IN_TURN: Change = Change {
        name: "acquire",
        condition: "#epoch = :epoch AND (attribute_not_exists(#lease) OR #lease_until < :now) \
                    AND #line_front = :ticket",
        effect: "SET #lease = :token, #lease_label = :label, #lease_until = :until ADD #gen :one, #line_front :one",
        returns_item: true,
    };
    /// The lease of a holder that did nothing for a whole lease: neither its generation nor its term changed.
    pub const PASS_OVER: Change = Change {
        name: "acquire",
        condition: "#epoch = :epoch AND (attribute_not_exists(#lease) OR #lease_until < :now OR #lease = :token \
                    OR (#gen = :gen AND #lease_until = :seen_until))",
        effect: GRANT,
        returns_item: true,
    };
    /// The lease of a holder that did nothing for a whole lease, and whose lease does not say when it ends. Such a
    /// lease cannot be renewed. Therefore only its generation shows whether the holder is alive.
    pub const PASS_OVER_TIMELESS: Change = Change {
        name: "acquire",
        condition: "#epoch = :epoch AND (attribute_not_exists(#lease) OR #lease_until < :now OR #lease = :token \
                    OR #gen = :gen)",
        effect: GRANT,
        returns_item: true,
    };
    const GRANT: &str = "SET #lease = :token, #lease_label = :label, #lease_until = :until ADD #gen :one";

    /// The end of the line is this waiter's ticket. The first waiter makes the line. A request that comes late, when
    /// nobody writes any more, leaves nothing behind.
    pub const JOIN_LINE: Change = Change {
        name: "join the line",
        condition: "#epoch = :epoch AND (attribute_exists(#lease) OR #line_front < #line_end)",
        effect: "ADD #line_end :one, #line_front :zero",
        returns_item: true,
    };
    /// The waiter in front leaves the line.
    pub const LEAVE_LINE: Change = Change {
        name: "leave the line",
        condition: "#epoch = :epoch AND #line_front = :ticket",
        effect: "ADD #line_front :one",
        returns_item: false,
    };
    /// Those in front do not take a free lease. They are passed by.
    pub const PASS_SLEEPERS: Change = Change {
        name: "pass sleepers",
        condition: "#epoch = :epoch AND (attribute_not_exists(#lease) OR #lease_until < :now) \
                    AND #line_front = :ticket",
        effect: "SET #line_front = :front",
        returns_item: false,
    };
    /// What is there is no line. The next waiter makes another one.
    pub const CLEAR_LINE: Change = Change {
        name: "clear the line",
        condition: "#epoch = :epoch AND (attribute_not_exists(#lease) OR #lease_until < :now)",
        effect: "REMOVE #line_end, #line_front",
        returns_item: false,
    };
    /// A renewal only ever makes a lease longer.
    pub const RENEW: Change = Change {
        name: "renew",
        condition: "#epoch = :epoch AND #gen = :gen AND #lease_until < :until",
        effect: "SET #lease_until = :until, #lease_label = :label",
        returns_item: false,
    };
    /// What each swap sets, and what it does besides.
    macro_rules! next_head {
        ($more:literal) => {
            concat!(
                "SET #version = :version, #commit = :commit, #fold = :fold, #digest = :digest, #place = :place, \
                 #window = :window",
                $more
            )
        };
    }

    /// The next commit replaces its predecessor, and the lease ends. The swap of a transaction never changes the base.
    pub const SWAP: Change = Change {
        name: "swap",
        condition: SWAPPABLE,
        effect: next_head!(" REMOVE #lease, #lease_label, #lease_until ADD #gen :one"),
        returns_item: false,
    };
    /// A commit whose writer keeps the lease.
    pub const SWAP_AND_KEEP: Change = Change {
        name: "swap",
        condition: SWAPPABLE,
        effect: next_head!(", #lease_until = :until ADD #gen :one"),
        returns_item: false,
    };
    /// A commit whose writer keeps the lease, and hears from the answer whether others wait.
    pub const SWAP_KEEP_AND_LOOK: Change = Change { returns_item: true, ..SWAP_AND_KEEP };
    /// The commit of a checkpoint replaces its predecessor, with a newer base. The lease ends.
    pub const SWAP_BASE: Change = Change {
        name: "swap",
        condition: SWAPPABLE,
        effect: next_head!(", #base = :base REMOVE #lease, #lease_label, #lease_until ADD #gen :one"),
        returns_item: false,
    };
    /// The commit of a garbage collection replaces its predecessor, with a newer floor and the next sweep. The lease
    /// ends.
    pub const SWAP_FLOOR: Change = Change {
        name: "swap",
        condition: SWAPPABLE,
        effect: next_head!(
            ", #floor = :floor, #sweep = :next_sweep REMOVE #lease, #lease_label, #lease_until ADD #gen :one"
        ),
        returns_item: false,
    };
    /// The last commit here replaces its predecessor: the database is detached, or moved. The lease ends.
    pub const SWAP_STATE: Change = Change {
        name: "swap",
        condition: SWAPPABLE,
        effect: next_head!(", #state = :state REMOVE #lease, #lease_label, #lease_until ADD #gen :one"),
        returns_item: false,
    };
    const SWAPPABLE: &str = "#epoch = :epoch AND #gen = :gen AND #version = :previous_version \
                             AND #commit = :previous_commit AND #sweep = :sweep";

    /// The lease ends without a commit.
    pub const RELEASE: Change = Change {
        name: "release",
        condition: "#epoch = :epoch AND #gen = :gen",
        effect: "REMOVE #lease, #lease_label, #lease_until ADD #gen :one",
        returns_item: false,
    };

    /// All of them.
    pub const EVERY: [Change; 16] = [
        ACQUIRE,
        ACQUIRE_IN_TURN,
        PASS_OVER,
        PASS_OVER_TIMELESS,
        JOIN_LINE,
        LEAVE_LINE,
        PASS_SLEEPERS,
        CLEAR_LINE,
        RENEW,
        SWAP,
        SWAP_AND_KEEP,
        SWAP_KEEP_AND_LOOK,
        SWAP_BASE,
        SWAP_FLOOR,
        SWAP_STATE,
        RELEASE,
    ];
}

/// The condition of a put: no such item exists.
pub const IF_ABSENT: &str = "attribute_not_exists(#pk)";
/// The condition of a first head: none is there, or one of an earlier epoch that is not open, as a database leaves it
/// that was moved elsewhere.
pub const IF_FREE: &str = "attribute_not_exists(#pk) OR (attribute_exists(#state) AND #epoch < :epoch)";
/// A condition that never holds: such a request only shows whether it would be allowed.
pub const NEVER: &str = "attribute_exists(#pk) AND attribute_not_exists(#pk)";
/// The condition of a recovery's seal: nothing has changed since it looked.
pub const IF_UNCHANGED: &str = "#epoch = :epoch AND #gen = :gen";
/// The condition of the head that a recovery makes: its own seal is there.
pub const IF_SEALED: &str = "#state = :state";
/// The condition of a head's removal: it belongs to the folder that was removed.
pub const IF_HOME: &str = "#home = :home";
/// The condition to take django-sqlite-efs's lock for good: it is free, has expired, or is Seawall's already.
pub const IF_LOCK_FREE: &str = "attribute_not_exists(#pk) OR #expires_at < :now OR begins_with(#lock_id, :seawall)";
/// The condition to give that lock back: it is this database's.
pub const IF_LOCK_MINE: &str = "#lock_id = :lock_id";

/// Values of a request, by name (without the colon).
pub type Values = BTreeMap<&'static str, Value>;

/// A request to the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The item, strongly consistent.
    Get {
        /// Its key.
        key: String,
    },
    /// Puts an item.
    Put {
        /// The item, its key included.
        item: Item,
        /// Its condition.
        condition: &'static str,
        /// The condition's values.
        values: Values,
    },
    /// Changes an item.
    Update {
        /// Its key.
        key: String,
        /// The change.
        change: Change,
        /// The values of its expressions.
        values: Values,
    },
    /// Deletes an item.
    Delete {
        /// Its key.
        key: String,
        /// Its condition.
        condition: &'static str,
        /// The condition's values.
        values: Values,
    },
}

impl Request {
    /// DynamoDB's name for it, which a policy must allow.
    pub fn action(&self) -> &'static str {
        match self {
            Request::Get { .. } => "GetItem",
            Request::Put { .. } => "PutItem",
            Request::Update { .. } => "UpdateItem",
            Request::Delete { .. } => "DeleteItem",
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was carried out. The item, if the request returns it and it exists.
    Done(Option<Item>),
    /// The condition did not hold. The item at that time, if it existed.
    Refused(Option<Item>),
}

/// The attributes that an expression names.
pub fn attributes(expressions: &[&str]) -> Vec<&'static str> {
    let mentioned = |name: &&&str| expressions.iter().any(|text| tokens(text, '#').any(|token| token == **name));
    ALL.iter().filter(mentioned).copied().collect()
}

/// The values that `expressions` name: DynamoDB refuses a request with others. Panics if one is missing.
pub fn used(values: &Values, expressions: &[&str]) -> Vec<(&'static str, Value)> {
    let mentioned: Vec<&str> = expressions.iter().flat_map(|text| tokens(text, ':')).collect();
    for name in &mentioned {
        assert!(values.contains_key(name), "the value :{name} is given");
    }
    values.iter().filter(|(name, _)| mentioned.contains(name)).map(|(name, value)| (*name, value.clone())).collect()
}

/// The names that follow `sigil`.
fn tokens(text: &str, sigil: char) -> impl Iterator<Item = &str> {
    text.split(sigil).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[cfg(test)]
mod tests {
    use super::changes::*;
    use super::*;

    #[test]
    fn every_change_names_the_epoch_and_only_one_the_base() {
        for change in EVERY {
            assert!(change.condition.starts_with("#epoch = :epoch AND "), "{change:?}");
            let named = attributes(&[change.condition, change.effect]);
            assert_eq!(named.contains(&"base"), change == SWAP_BASE, "{change:?}");
            assert_eq!(named.contains(&"floor"), change == SWAP_FLOOR, "{change:?}");
        }
    }

    #[test]
    fn names_and_values_are_found_whole() {
        assert_eq!(attributes(&[PASS_OVER.condition]), ["epoch", "gen", "lease", "lease_until"]);
        assert_eq!(attributes(&[JOIN_LINE.effect]), ["line_end", "line_front"]);
        let value = |n: u64| Value::Number(n.to_string());
        let values = Values::from([("epoch", value(0)), ("gen", value(1)), ("unused", value(2))]);
        assert_eq!(used(&values, &[RELEASE.condition]), [("epoch", value(0)), ("gen", value(1))]);
    }
}
