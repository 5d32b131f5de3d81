//! The coordinator: the engine's questions, as requests to a table. `line.rs` has the line of waiters.

mod line;

use crate::item::{Item, NO_TERM, Value, head_of, holder_of, item_of, key_of, names, number, place_of, text, text_of};
use crate::legacy;
use crate::request::{
    Answer, Change, IF_ABSENT, IF_FREE, IF_HOME, IF_SEALED, IF_UNCHANGED, NEVER, Request, Values, changes,
};
use crate::retry::{Repeats, send};
use crate::table::Table;
use line::Stand;
use seawall::format::head::{Head, State};
use seawall::format::ids::{CommitId, DatabaseId, Epoch, Token};
use seawall::ports::coordinator::{
    Acquired, Claim, Coordinator, CoordinatorError, Holder, Known, Lease, Swapped, Waiters,
};
use seawall::ports::storage::Storage;
use seawall::{Moment, Shown};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The longest label. With it the item stays within one write unit.
pub(crate) const LABEL_BYTES: usize = 96;
/// The longest window: so the item stays below 4,096 bytes, which one read unit reads.
const WINDOW_BYTES: usize = 2400;
/// A lease counts as expired this long after its end, because clocks differ.
const SLACK_MILLIS: u64 = 1000;
/// How long a request is repeated that no transaction waits for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many of this process's attempts are remembered. A late copy of one must not make other writers wait.
const REMEMBERED_TOKENS: usize = 16;

/// The `dynamodb` coordinator of one database.
pub struct DynamoCoordinator {
    table: Arc<dyn Table>,
    storage: Arc<dyn Storage>,
    database: DatabaseId,
    stand: Mutex<Stand>,
    /// The attempts that this process made. A lease that belongs to an earlier one has no holder.
    attempts: Mutex<VecDeque<Token>>,
}

impl DynamoCoordinator {
    /// The coordinator of `database`, whose head is in `table`. `storage` has the clocks, and counts.
    pub fn new(table: Arc<dyn Table>, database: DatabaseId, storage: Arc<dyn Storage>) -> DynamoCoordinator {
        DynamoCoordinator { table, storage, database, stand: Mutex::default(), attempts: Mutex::default() }
    }

    fn send(&self, request: &Request, patience: Duration, repeats: Repeats) -> Result<Answer, CoordinatorError> {
        send(&*self.table, &*self.storage, request, patience, repeats)
    }

    fn update(
        &self,
        change: Change,
        values: Values,
        patience: Duration,
        repeats: Repeats,
    ) -> Result<Answer, CoordinatorError> {
        #[cfg(feature = "mutations")]
        let change = crate::mutation::active(change);
        self.send(&Request::Update { key: key_of(self.database), change, values }, patience, repeats)
    }

    fn head(&self, item: Option<&Item>) -> Result<Head, CoordinatorError> {
        let place = || format!("the item {} of the table {}", key_of(self.database), self.table.name());
        let item = item.ok_or_else(|| CoordinatorError::Lost(format!("{} is not there", place())))?;
        head_of(item, self.database, self.table.name())
            .map_err(|why| CoordinatorError::Malformed(format!("{}: {why}", place())))
    }

    fn seen(&self, item: &Item, head: &Head) -> Holder {
        let mut holder = holder_of(item, head.generation);
        holder.label = match holder.term {
            0 => holder.label,
            NO_TERM => Shown::message(format_args!("{}; it does not say until when", holder.label)),
            term => {
                let until = Moment { wall: Duration::from_millis(term), ..Moment::default() };
                Shown::message(format_args!("{}, until {}", holder.label, until.clock()))
            }
        };
        holder
    }

    fn get(&self, patience: Duration) -> Result<Option<Item>, CoordinatorError> {
        match self.send(&Request::Get { key: key_of(self.database) }, patience, Repeats::Freely)? {
            Answer::Done(item) | Answer::Refused(item) => Ok(item),
        }
    }

    /// Milliseconds since 1970, by the table's clock as far as it is known.
    fn now(&self) -> u64 {
        self.storage.now().unix_millis().saturating_add_signed(self.table.clock_ahead())
    }

    fn until(&self, length: Duration) -> u64 {
        self.now() + length.as_millis() as u64
    }

    /// One attempt for the lease.
    fn ask(&self, claim: &Claim, known: &Head) -> Result<Answer, CoordinatorError> {
        let mut values = Values::from([
            ("epoch", number(known.epoch.0)),
            ("now", number(self.now().saturating_sub(SLACK_MILLIS))),
            ("token", text(claim.token)),
            ("label", text(shortened(&claim.label))),
            ("until", number(self.until(claim.length))),
            ("one", number(1)),
        ]);
        let change = match &claim.pass_over {
            Some(holder) => {
                values.extend([("gen", number(holder.generation)), ("seen_until", number(holder.term))]);
                if holder.term == NO_TERM { changes::PASS_OVER_TIMELESS } else { changes::PASS_OVER }
            }
            None => match self.stand().ticket {
                Some((_, ticket)) => {
                    values.insert("ticket", number(ticket));
                    changes::ACQUIRE_IN_TURN
                }
                None => changes::ACQUIRE,
            },
        };
        self.update(change, values, claim.patience, Repeats::Freely)
    }

    /// Whether `item`'s lease belongs to an earlier attempt of this process, whose request arrived late.
    fn is_late_copy(&self, item: &Item, claim: &Claim) -> bool {
        let Some(token) = text_of(item, names::LEASE).and_then(|token| token.parse::<Token>().ok()) else {
            return false;
        };
        token != claim.token && self.attempts.lock().unwrap_or_else(PoisonError::into_inner).contains(&token)
    }

    fn remember(&self, token: Token) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.back() != Some(&token) {
            attempts.push_back(token);
            if attempts.len() > REMEMBERED_TOKENS {
                attempts.pop_front();
            }
        }
    }

    fn granted(&self, claim: &Claim, item: Option<&Item>, since: Moment) -> Result<Acquired, CoordinatorError> {
        {
            // A process that passed over a holder did not come to its turn, and still stands in the line.
            let mut stand = self.stand();
            let ticket = stand.ticket.filter(|_| claim.pass_over.is_some());
            *stand = Stand { ticket, trip: stand.trip, leaves: ticket.is_some(), ..Stand::default() };
        }
        self.learn_who_waits(item);
        let head = self.head(item)?;
        let lease = Lease {
            epoch: head.epoch,
            generation: head.generation,
            sweep: head.sweep,
            token: claim.token,
            slot: 0,
            former: None,
            folder: 0,
            since,
            length: claim.length,
            first_renewal: claim.length / 3,
        };
        Ok(Acquired::Granted(lease, Box::new(head)))
    }
}

impl Coordinator for DynamoCoordinator {
    fn name(&self) -> String {
        self.table.url()
    }

    fn create(&self, head: &Head) -> Result<Head, CoordinatorError> {
        assert_eq!(head.database, self.database, "a head is put under its own key");
        let item = item_of(head, self.table.name());
        let values = Values::from([("epoch", number(head.epoch.0))]);
        let put = Request::Put { item, condition: IF_FREE, values };
        match self.send(&put, PATIENCE, Repeats::Freely)? {
            Answer::Done(_) => Ok(head.clone()),
            Answer::Refused(item) => self.head(item.as_ref()),
        }
    }

    fn replace(&self, seen: &Head, head: &Head) -> Result<Head, CoordinatorError> {
        let item = item_of(head, self.table.name());
        let values = Values::from([("epoch", number(seen.epoch.0)), ("gen", number(seen.generation))]);
        match self.send(&Request::Put { item, condition: IF_UNCHANGED, values }, PATIENCE, Repeats::Freely)? {
            Answer::Done(_) => Ok(head.clone()),
            Answer::Refused(item) => self.head(item.as_ref()),
        }
    }

    fn may_create(&self) -> Result<(), CoordinatorError> {
        let (key, condition, values) = (key_of(self.database), NEVER, Values::new());
        let change = Change { name: "try", condition, effect: changes::RELEASE.effect, returns_item: false };
        let trials = [
            Request::Put { item: [(names::PK.into(), text(&key))].into(), condition, values: values.clone() },
            Request::Update { key: key.clone(), change, values: [("one", number(1))].into() },
            Request::Delete { key, condition, values },
        ];
        trials.iter().try_for_each(|trial| self.send(trial, PATIENCE, Repeats::Freely).map(drop))
    }

    fn forget(&self, home: u64) -> Result<(), CoordinatorError> {
        let values = Values::from([("home", number(home))]);
        let delete = Request::Delete { key: key_of(self.database), condition: IF_HOME, values };
        // Refused: the item is gone, or belongs to another folder.
        self.send(&delete, PATIENCE, Repeats::Freely).map(drop)
    }

    fn shut_out(&self, name: &str) -> Result<Option<String>, CoordinatorError> {
        let put = legacy::take(name, self.database, self.now().saturating_sub(SLACK_MILLIS));
        match self.send(&put, PATIENCE, Repeats::Freely)? {
            Answer::Done(_) => Ok(None),
            Answer::Refused(item) => Ok(Some(legacy::holder(name, item.as_ref()))),
        }
    }

    fn let_in(&self, name: &str) -> Result<(), CoordinatorError> {
        self.send(&legacy::give_back(name, self.database), PATIENCE, Repeats::Freely).map(drop)
    }

    fn load(&self, _known: &Known<'_>, patience: Duration) -> Result<Head, CoordinatorError> {
        self.head(self.get(patience)?.as_ref())
    }

    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError> {
        let since = self.storage.now();
        self.remember(claim.token);
        let answer = self.ask(claim, known)?;
        self.stand().trip = self.storage.now().monotonic.saturating_sub(since.monotonic);
        let item = match answer {
            Answer::Done(item) => return self.granted(claim, item.as_ref(), since),
            Answer::Refused(item) => item,
        };
        let head = self.head(item.as_ref())?;
        let item = item.expect("a head was read from it");
        let holder = self.seen(&item, &head);
        // This request was granted the lease before, and its answer was lost.
        let is_granted = text_of(&item, names::LEASE).is_some_and(|lease| lease == claim.token.to_string());
        if is_granted {
            self.stand().ticket = None;
            if let Ok(Answer::Done(item)) = self.ask(claim, &head) {
                return self.granted(claim, item.as_ref(), since);
            }
        }
        if self.is_late_copy(&item, claim) {
            let claim = Claim { pass_over: Some(holder.clone()), ..claim.clone() };
            if let Ok(Answer::Done(item)) = self.ask(&claim, &head) {
                return self.granted(&claim, item.as_ref(), since);
            }
        }
        let again_in = self.wait(claim, known, &item, &holder);
        Ok(Acquired::Refused { again_in, seen: Some(Box::new(head)), holder: Some(holder) })
    }

    fn give_up(&self) -> Result<(), CoordinatorError> {
        let mut stand = self.stand();
        stand.leaves = false;
        let Some((epoch, ticket)) = stand.ticket.take() else { return Ok(()) };
        drop(stand);
        // Refused: others are in front. They are served first, and the next one passes this ticket by.
        let values = Values::from([("epoch", number(epoch.0)), ("ticket", number(ticket)), ("one", number(1))]);
        self.update(changes::LEAVE_LINE, values, Duration::ZERO, Repeats::OnlyIfNotDone).map(drop)
    }

    fn leaves_line(&self) -> bool {
        self.stand().leaves
    }

    fn others_wait(&self) -> Option<(Waiters, Duration)> {
        self.stand().waiters
    }

    fn holder(&self, _known: &Head) -> Result<Holder, CoordinatorError> {
        let item = self.get(PATIENCE)?;
        let head = self.head(item.as_ref())?;
        Ok(self.seen(&item.expect("a head was read from it"), &head))
    }

    fn renew(&self, lease: &Lease, label: &str) -> Result<(), CoordinatorError> {
        let values = Values::from([
            ("epoch", number(lease.epoch.0)),
            ("gen", number(lease.generation)),
            ("until", number(self.until(lease.length))),
            ("label", text(shortened(label))),
        ]);
        #[cfg(feature = "mutations")]
        let values = crate::mutation::with_token(values, lease);
        self.update(changes::RENEW, values, PATIENCE, Repeats::Freely).map(drop)
    }

    fn swap(
        &self,
        lease: &Lease,
        previous: &Head,
        next: &Head,
        keep: bool,
        patience: Duration,
    ) -> Result<Swapped, CoordinatorError> {
        assert_eq!(next.version, previous.version.next(), "versions rise by one");
        let mut values = Values::from([
            ("epoch", number(previous.epoch.0)),
            ("gen", number(lease.generation)),
            ("previous_version", number(previous.version.0)),
            ("previous_commit", text(previous.commit().id)),
            ("sweep", number(lease.sweep)),
            ("version", number(next.version.0)),
            ("commit", text(next.commit().id)),
            ("fold", text(next.fold.id)),
            ("digest", text(next.fold.digest)),
            ("place", place_of(next.fold.place)),
            ("window", Value::Binary(next.window.bytes().to_vec())),
            ("until", number(self.until(lease.length))),
            ("floor", text(next.floor)),
            ("next_sweep", number(next.sweep)),
            ("state", text(&next.state)),
            ("one", number(1)),
        ]);
        values.extend(next.base.map(|base| ("base", text(base))));
        #[cfg(feature = "mutations")]
        let values = crate::mutation::with_token(values, lease);
        let change = match change_of(previous, next, keep) {
            changes::SWAP_AND_KEEP if self.is_to_look() => changes::SWAP_KEEP_AND_LOOK,
            change => change,
        };
        match self.update(change, values, patience, Repeats::OnlyIfNotDone)? {
            Answer::Done(item) => {
                self.learn_who_waits(item.as_ref());
                Ok(Swapped::Done)
            }
            Answer::Refused(item) => self.head(item.as_ref()).map(|head| Swapped::Refused(Box::new(head))),
        }
    }

    fn carries(&self, head: &Head) -> bool {
        head.window.bytes().len() <= WINDOW_BYTES
    }

    fn is_in_files(&self) -> bool {
        false
    }

    fn evidence(&self) -> Result<Vec<Head>, CoordinatorError> {
        let item = self.get(PATIENCE)?;
        Ok(item.iter().filter_map(|item| self.head(Some(item)).ok()).collect())
    }

    /// Where no head can be read, a head without a commit is put, so that no late request finds what it names.
    fn seal(&self, token: Token, epoch: Epoch) -> Result<(), CoordinatorError> {
        loop {
            let item = self.get(PATIENCE)?;
            let nothing = CommitId([0; 16]);
            let readable = item.as_ref().and_then(|item| self.head(Some(item)).ok());
            let seen = readable.unwrap_or_else(|| Head::first(self.database, nothing, None, 0));
            let sealed = Head {
                epoch: epoch.max(Epoch(seen.epoch.0 + 1)),
                generation: seen.generation + 1,
                state: State::Recovering(token),
                ..seen
            };
            let raw = |name| item.as_ref().and_then(|item| item.get(name).cloned());
            let (condition, values) = match (&item, raw(names::EPOCH), raw(names::GEN)) {
                (None, ..) => (IF_ABSENT, Values::new()),
                (_, Some(epoch), Some(generation)) => {
                    (IF_UNCHANGED, Values::from([("epoch", epoch), ("gen", generation)]))
                }
                _ => {
                    return Err(CoordinatorError::Malformed(format!(
                        "the item {} has neither epoch nor gen. It is no head of Seawall's, and was left as it is. Delete it, and recover again",
                        key_of(self.database)
                    )));
                }
            };
            let item = item_of(&sealed, self.table.name());
            match self.send(&Request::Put { item, condition, values }, PATIENCE, Repeats::Freely)? {
                Answer::Done(_) => return Ok(()),
                // A late copy of this very request may have been carried out, or somebody has changed the head: look
                // again.
                Answer::Refused(Some(item)) if text_of(&item, names::STATE) == Some(&sealed.state.to_string()) => {
                    return Ok(());
                }
                Answer::Refused(_) => {}
            }
        }
    }

    fn is_sealed(&self, token: Token) -> Result<bool, CoordinatorError> {
        let mine = State::Recovering(token);
        Ok(self.evidence()?.iter().any(|head| head.state == mine))
    }

    fn unseal(&self, token: Token, _previous: &Head, head: &Head) -> Result<bool, CoordinatorError> {
        let item = item_of(head, self.table.name());
        let values = Values::from([("state", text(State::Recovering(token)))]);
        match self.send(&Request::Put { item, condition: IF_SEALED, values }, PATIENCE, Repeats::Freely)? {
            Answer::Done(_) => Ok(true),
            // A repeated request may meet its own success.
            Answer::Refused(_) => Ok(self.evidence()?.iter().any(|there| there.commit().is(&head.commit()))),
        }
    }

    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError> {
        let values =
            Values::from([("epoch", number(lease.epoch.0)), ("gen", number(lease.generation)), ("one", number(1))]);
        // Refused: the lease has ended already.
        self.update(changes::RELEASE, values, PATIENCE, Repeats::Freely).map(drop)
    }

    fn lease_survives_swap(&self) -> bool {
        false
    }

    fn lease_ends_with_process(&self) -> bool {
        false
    }
}

/// The swap from `previous` to `next`. Only a checkpoint's names the base, and only a garbage collection's the floor
/// and the sweep.
fn change_of(previous: &Head, next: &Head, keep: bool) -> Change {
    let is_upkeep = (next.base, next.sweep, &next.state) != (previous.base, previous.sweep, &previous.state);
    assert!(!keep || !is_upkeep, "the lease ends with a commit of upkeep");
    if next.base != previous.base {
        changes::SWAP_BASE
    } else if next.sweep != previous.sweep {
        changes::SWAP_FLOOR
    } else if next.state != previous.state {
        changes::SWAP_STATE
    } else if keep {
        changes::SWAP_AND_KEEP
    } else {
        changes::SWAP
    }
}

fn shortened(label: &str) -> &str {
    &label[..label.floor_char_boundary(LABEL_BYTES)]
}
