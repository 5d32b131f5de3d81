//! The holders of leases: the simulator counts takeovers, and checks that no request takes a lease that has not
//! expired.

use crate::event::Event;
use crate::process::ProcessId;
use crate::world::World;
use seawall_dynamodb::item::{Item, Value, names, text_of};
use seawall_dynamodb::request::{Change, Values};
use std::collections::HashMap;
use std::sync::Mutex;

/// The holder of each epoch's and generation's lease.
#[derive(Default)]
pub(crate) struct Leases {
    owners: Mutex<HashMap<(u64, u64), (String, ProcessId)>>,
}

/// The lease is advisory, but no request may take it from a holder before it expires, nor touch one that is not its
/// own. (m1 C5)
pub(crate) fn check_lease(
    world: &World,
    change: &Change,
    values: &Values,
    process: ProcessId,
    before: &Item,
    after: &Item,
) {
    let lease = |item: &Item| text_of(item, names::LEASE).map(str::to_owned);
    let number = |value: Option<&Value>| match value {
        Some(Value::Number(number)) => number.parse::<u64>().ok(),
        _ => None,
    };
    let epoch = |item: &Item| number(item.get(names::EPOCH)).unwrap_or_default();
    let generation = |item: &Item| (epoch(item), number(item.get(names::GEN)).unwrap_or_default());
    let mut owners = world.leases().owners.lock().expect("no panic while locked");
    let meant = number(values.get("gen")).and_then(|generation| owners.get(&(epoch(before), generation)));
    let meant = meant.map(|(token, _)| token.clone());
    let held = lease(before);
    let robbed = match change.name {
        "acquire" => {
            let runs_out = number(before.get(names::LEASE_UNTIL)).unwrap_or_default();
            let is_over = number(values.get("now")).is_none_or(|now| runs_out < now);
            let passes_over = values.contains_key("seen_until");
            let again = held == lease(after);
            let holder = owners.get(&generation(before)).map(|(_, holder)| *holder);
            if let Some(holder) = holder.filter(|holder| held.is_some() && *holder != process) {
                took_over(world, holder);
            }
            held.is_some() && !is_over && !passes_over && !again
        }
        "swap" | "release" | "renew" => held.is_some() && held != meant || change.name == "renew" && held.is_none(),
        _ => held != lease(after),
    };
    if let Some(token) = lease(after) {
        let owner =
            if change.name == "acquire" { process } else { owners.get(&generation(before)).map_or(process, |o| o.1) };
        owners.insert(generation(after), (token, owner));
    }
    drop(owners);
    if robbed {
        world.violation(|| {
            format!("{} of {process} touched a lease that is another's: {held:?}, meant was {meant:?}", change.name)
        });
    }
}

/// Another process took the lease over from `holder`.
pub(crate) fn took_over(world: &World, holder: ProcessId) {
    let (is_dead, appending, swapping) =
        world.with_process(holder, |process| (process.is_dead, process.appending, process.swapping));
    let met = [
        (Event::Takeover, !is_dead),
        (Event::TakeoverDuringAppend, !is_dead && appending > 0),
        (Event::TakeoverDuringSwap, !is_dead && swapping > 0),
    ];
    met.into_iter().filter(|(_, is_so)| *is_so).for_each(|(event, _)| world.met(event));
}
