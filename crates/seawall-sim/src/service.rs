//! The simulated DynamoDB: requests are lost, duplicated, late, refused, and carried out after their sender is dead.

use crate::calls::on_the_way;
use crate::event::Event;
use crate::leases::check_lease;
use crate::paths::path_of;
use crate::place::At;
use crate::process::ProcessId;
use crate::recovery::recovered;
use crate::world::{Reply, World};
use seawall::format::head::Head;
use seawall::format::identity;
use seawall::format::ids::DatabaseId;
use seawall::ports::storage::File;
use seawall_dynamodb::item::{Item, head_of, key_of, names, text_of};
use seawall_dynamodb::request::{Answer, IF_FREE, IF_SEALED, IF_UNCHANGED, Request};
use seawall_dynamodb::table::{Failure, FailureKind, Table};
use std::time::Duration;

pub(crate) const NAME: &str = "locks";
/// How long an attempt waits for an answer.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A request's fate.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    ReplyLost,
    /// It is carried out when no process waits for it any more.
    Late,
    /// It is carried out once more, later.
    Again,
    /// It is carried out twice, and the second answer is the one that comes.
    TwiceAtOnce,
    Throttled,
    NotConnected,
    ServerError,
    ServerErrorAfter,
}

const FATES: [Fate; 9] = [
    Fate::Lost,
    Fate::ReplyLost,
    Fate::Late,
    Fate::Again,
    Fate::TwiceAtOnce,
    Fate::Throttled,
    Fate::NotConnected,
    Fate::ServerError,
    Fate::ServerErrorAfter,
];

/// A process's connection to the table.
pub(crate) struct SimTable(pub(crate) World);

impl Table for SimTable {
    fn name(&self) -> &str {
        NAME
    }

    fn region(&self) -> &str {
        "eu-sim-1"
    }

    fn attempt(&self, request: &Request) -> Result<Answer, Failure> {
        let world = &self.0;
        let process = world.my_process();
        let unclear = |why: &str| Failure { kind: FailureKind::Unclear, why: why.into() };
        let (is_dead, cut_until) = world.with_process(process, |process| (process.is_dead, process.table_cut_until));
        if is_dead {
            return Err(unclear("the process is dead"));
        }
        let is_cut = cut_until > world.now();
        let fate = match is_cut {
            true if world.by_chance(0.5) => Some(Fate::NotConnected),
            true => Some(Fate::Lost),
            false if world.by_chance(world.request_faults()) => {
                let kind = world.pick(0..=FATES.len() as u64 - 1) as usize;
                (world.plan().fates >> kind & 1 == 1).then(|| FATES[kind])
            }
            false => None,
        };
        if let Some(fate) = fate {
            world.tell(|| format!("{} is to fail: {fate:?}", name_of(request)));
        }
        let is_swap = name_of(request) == "swap";
        if is_swap
            && matches!(fate, Some(Fate::Lost | Fate::ReplyLost | Fate::Late | Fate::ServerErrorAfter))
            && let Some(until) = world.begins_burst()
        {
            world.with_process(process, |process| process.table_cut_until = until);
        }
        world.with_process(process, |process| process.swapping += u32::from(is_swap));
        let answer = world.ask(|reply| send(world, request, process, fate, reply));
        world.with_process(process, |process| {
            process.swapping -= u32::from(is_swap);
            process.misses_its_reply &= !is_swap;
        });
        answer
    }

    fn clock_ahead(&self) -> i64 {
        let process = self.0.my_process();
        let behind = self.0.with_process(process, |process| -process.clock.ahead / 1_000_000);
        if behind.abs() < 2000 { 0 } else { behind }
    }
}

type Outcome = Result<Answer, Failure>;

fn send(world: &World, request: &Request, process: ProcessId, fate: Option<Fate>, reply: Reply<Outcome>) {
    let there = on_the_way(world);
    let failure = |kind, why: &str| Err(Failure { kind, why: why.into() });
    let request = request.clone();
    let later = |world: &World, request: Request| {
        let delay = there + world.between(Duration::from_millis(1), world.plan().latest);
        world.after(delay, move |world| drop(arrive(world, &request, process, true)));
    };
    match fate {
        Some(Fate::Throttled) => {
            world.met(Event::Throttled);
            reply.answer(world, failure(FailureKind::NotYet, "throttled"), there * 2);
        }
        Some(Fate::NotConnected) => reply.answer(world, failure(FailureKind::NotYet, "no connection"), there),
        Some(Fate::ServerError) => reply.answer(world, failure(FailureKind::Unclear, "500"), there * 2),
        Some(Fate::Lost) => {
            world.met(Event::LostRequest);
            reply.answer(world, failure(FailureKind::Unclear, "no answer"), ATTEMPT);
        }
        Some(Fate::Late) => {
            later(world, request);
            reply.answer(world, failure(FailureKind::Unclear, "no answer"), ATTEMPT);
        }
        fate => {
            if matches!(fate, Some(Fate::Again)) {
                world.met(Event::Duplicate);
                later(world, request.clone());
            }
            world.after(there, move |world| {
                if world.with_process(process, |process| process.is_dead) {
                    // It was in flight when its sender died. It arrives now, later, or never.
                    match world.pick(0..=2) {
                        0 => drop(arrive(world, &request, process, true)),
                        1 => {
                            let delay = world.between(Duration::from_millis(1), world.plan().latest);
                            world.after(delay, move |world| drop(arrive(world, &request, process, true)));
                        }
                        _ => {}
                    }
                    return;
                }
                let mut answer = arrive(world, &request, process, false);
                let back = on_the_way(world);
                match fate {
                    Some(Fate::ReplyLost) => {
                        world.met(Event::LostReply);
                        if name_of(&request) == "put" && matches!(answer, Answer::Done(_)) {
                            world.met(Event::HeadUnseen);
                        }
                        let is_in_place = name_of(&request) == "swap" && matches!(answer, Answer::Done(_));
                        world.with_process(process, |process| process.misses_its_reply |= is_in_place);
                        return reply.answer(world, failure(FailureKind::Unclear, "no answer"), ATTEMPT);
                    }
                    Some(Fate::ServerErrorAfter) => {
                        world.met(Event::ServerError);
                        return reply.answer(world, failure(FailureKind::Unclear, "500"), back);
                    }
                    Some(Fate::TwiceAtOnce) => {
                        world.met(Event::Duplicate);
                        let first = answer;
                        answer = arrive(world, &request, process, false);
                        let is_swap = name_of(&request) == "swap";
                        if is_swap && matches!((first, &answer), (Answer::Done(_), Answer::Refused(_))) {
                            world.met(Event::RefusedButTaken);
                        }
                    }
                    _ => {}
                }
                reply.answer(world, Ok(answer), back);
            });
        }
    }
}

/// The table carries the request out, and the oracle checks it.
fn arrive(world: &World, request: &Request, process: ProcessId, is_late: bool) -> Answer {
    let key = match request {
        Request::Get { key } | Request::Update { key, .. } | Request::Delete { key, .. } => key.clone(),
        Request::Put { item, .. } => text_of(item, names::PK).unwrap_or_default().to_owned(),
    };
    let (answer, before, after) = {
        let mut items = world.items();
        let before = items.0.get(&key).cloned();
        let answer = items.apply(request);
        (answer, before, items.0.get(&key).cloned())
    };
    let took_place = matches!(answer, Answer::Done(_));
    world.tell(|| {
        let late = if is_late { " late" } else { "" };
        format!("{} of {process} arrives{late}: {}", name_of(request), if took_place { "done" } else { "refused" })
    });
    if is_late {
        let is_swap = name_of(request) == "swap";
        let met = [
            (Event::LateSwap, is_swap),
            (Event::LateSwapTookPlace, is_swap && took_place),
            (Event::LateRefused, !took_place),
        ];
        met.into_iter().filter(|(_, is_so)| *is_so).for_each(|(event, _)| world.met(event));
    }
    if took_place {
        check_effect(world, request, process, before.as_ref(), after.as_ref(), is_late);
    }
    answer
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Update { change, .. } => change.name,
        Request::Get { .. } => "load",
        Request::Put { .. } => "put",
        Request::Delete { .. } => "delete",
    }
}

fn check_effect(
    world: &World,
    request: &Request,
    process: ProcessId,
    before: Option<&Item>,
    after: Option<&Item>,
    is_late: bool,
) {
    match (request, before, after) {
        (Request::Update { change, values, .. }, Some(before), Some(after)) => {
            check_lease(world, change, values, process, before, after);
            if moved(before, after) {
                follow(world, before, after, process);
            }
        }
        (Request::Update { change, .. }, None, Some(_)) => {
            world.violation(|| format!("{} made a head where none was", change.name));
        }
        (Request::Put { item, .. }, before, Some(_)) if is_sealed(item) => {
            world.met(if before.is_some_and(is_sealed) { Event::SealedAgain } else { Event::Sealed });
            // A recovery elsewhere takes away what a move has put here. A loss of power can have taken the `id` of a
            // move away: then openers come here, though the newest head is elsewhere.
            if world.oracle().at() == At::Table || world.at() == At::Table {
                world.begin_danger();
            }
        }
        (Request::Put { condition: IF_SEALED, item, .. }, Some(_), Some(_)) => {
            let database = database_of(item);
            match database.and_then(|database| head_of(item, database, NAME)) {
                Ok(head) => recovered(world, &world.disk(), At::Table, head, process),
                Err(why) => world.violation(|| why),
            }
        }
        (Request::Delete { .. }, Some(before), None)
            if database_in_id(world).is_some_and(|id| is_head_of(before, id)) =>
        {
            world.violation(|| "the head of the database was removed".into());
        }
        (Request::Put { condition: IF_FREE | IF_UNCHANGED, item, .. }, _, Some(_))
            if world.oracle().at() == At::Files =>
        {
            let database = database_of(item);
            match database.and_then(|database| head_of(item, database, NAME)) {
                Ok(head) => {
                    let put = world.oracle().put_elsewhere(At::Table, &head);
                    world.put_elsewhere(put);
                }
                Err(why) => world.violation(|| why),
            }
        }
        // An adopter that comes too late puts its own head, and removes it. A late copy of a put can still arrive; then
        // `high` shows it.
        (Request::Put { item, .. }, None, Some(_))
            if !is_late
                && world.oracle().head().is_some()
                && database_in_id(world).is_some_and(|id| is_head_of(item, id)) =>
        {
            world.violation(|| "a lost head was put again".into());
        }
        _ => {}
    }
}

/// Whether an item is the seal of a recovery.
fn is_sealed(item: &Item) -> bool {
    text_of(item, names::STATE).is_some_and(|state| state.starts_with("recovering"))
}

fn database_of(item: &Item) -> Result<DatabaseId, String> {
    let key = text_of(item, names::PK).unwrap_or_default();
    Ok(key.strip_prefix("seawall#").and_then(|id| id.parse().ok()).ok_or("a head's key is malformed")?)
}

fn moved(before: &Item, after: &Item) -> bool {
    let heads = [names::EPOCH, names::VERSION, names::COMMIT, names::DIGEST, names::PLACE, names::BASE, names::SWEEP];
    heads.iter().any(|name| before.get(*name) != after.get(*name))
}

fn is_head_of(item: &Item, database: DatabaseId) -> bool {
    text_of(item, names::PK) == Some(&key_of(database))
}

fn database_in_id(world: &World) -> Option<DatabaseId> {
    let id = world.disk().content(&path_of(File::Id))?.to_vec();
    identity::parse(id).ok().map(|identity| identity.database)
}

/// `id` has its name. From now on the head of its database is the head.
pub(crate) fn adopted(world: &World) {
    // A recovery names id again. Its head was put before.
    if world.oracle().head().is_some() {
        return;
    }
    let Some(database) = database_in_id(world) else {
        return world.violation(|| "id has its name, and cannot be read".into());
    };
    let item = world.items().0.get(&key_of(database)).cloned();
    let head = item.ok_or_else(|| "id has its name before there is a head".to_owned());
    let head = head.and_then(|item| head_of(&item, database, NAME));
    let now = world.now();
    let begun = head.and_then(|head| world.oracle().observe(head, &world.disk(), now, world.history()));
    world.check(begun.map(drop));
}

fn follow(world: &World, before: &Item, after: &Item, process: ProcessId) {
    let parse = |item: &Item| -> Result<Head, String> { head_of(item, database_of(item)?, NAME) };
    let (before, after) = match (parse(before), parse(after)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(why), _) | (_, Err(why)) => return world.violation(|| why),
    };
    if after.generation <= before.generation {
        world.violation(|| format!("a swap left the generation at {}", after.generation));
    }
    if world.oracle().at() == At::Files {
        let put = world.oracle().put_elsewhere(At::Table, &after);
        return world.put_elsewhere(put);
    }
    let (version, now) = (after.version, world.now());
    let observed = world.oracle().observe(after, &world.disk(), now, world.history());
    world.observed(observed, version, process);
}
