//! Where the head is: in the folder of versions, or in the table. A move changes it.

use crate::disk::Disk;
use crate::paths::{COMMITS, inside, path_of, record_path};
use crate::world::World;
use seawall::format::head::Head;
use seawall::format::identity;
use seawall::format::ids::{DatabaseId, Version};
use seawall::ports::storage::File;
use seawall_dynamodb::item::{head_of, key_of};
use std::time::Duration;

/// A coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum At {
    /// `fs:`, the folder of versions.
    #[default]
    Files,
    /// `dynamodb:`, the table.
    Table,
}

impl At {
    pub(crate) fn other(self) -> At {
        match self {
            At::Files => At::Table,
            At::Table => At::Files,
        }
    }

    /// How a program asks for it.
    pub(crate) fn url(self) -> &'static str {
        match self {
            At::Files => "fs:",
            At::Table => "dynamodb:",
        }
    }

    /// The coordinator that a URL names.
    pub(crate) fn of(url: &str) -> At {
        if url.starts_with("fs:") { At::Files } else { At::Table }
    }

    /// The coordinator that a text names behind `mark`.
    pub(crate) fn named_in(text: &str, mark: &str) -> Option<At> {
        text.split_once(mark).map(|(_, url)| At::of(url))
    }
}

/// Which coordinator `id` names, and when that, or the fence of a move, changed last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) at: At,
    pub(crate) switched: Duration,
    pub(crate) changed: Option<Duration>,
}

/// What `id` says: the coordinator, and the home that it has.
pub(crate) fn bound(disk: &Disk) -> Option<(At, u64)> {
    let inode = disk.find(&path_of(File::Id))?;
    let identity = identity::parse(disk.inode(inode).bytes.clone()).ok()?;
    Some((At::of(&identity.coordinator), Disk::number(inode)))
}

/// The head that a coordinator has of the database.
pub(crate) fn head_at(world: &World, disk: &Disk, at: At, database: DatabaseId) -> Option<Head> {
    match at {
        At::Files => {
            let folder = disk.find(COMMITS)?;
            let newest = disk.list(&inside(folder)).filter_map(|name| name.parse::<u64>().ok()).max()?;
            std::str::from_utf8(disk.content(&record_path(folder, Version(newest)))?).ok()?.parse().ok()
        }
        At::Table => head_of(world.items().0.get(&key_of(database))?, database, "locks").ok(),
    }
}

/// `id` was replaced. From now on the database is where that says. The disk is locked.
pub(crate) fn replaced(world: &World, disk: &Disk) {
    let Some((at, home)) = bound(disk) else { return world.violation(|| "id cannot be read".into()) };
    let Some(database) = world.oracle().head().map(|head| head.database) else {
        return world.violation(|| "id was replaced before there was a head".into());
    };
    let (there, before) = (head_at(world, disk, at, database), world.at());
    let now = world.now();
    world.tell(|| format!("id names {at:?} now, with the home {home}: {there:?}"));
    let switched = world.oracle().switched(at, home, there, disk, now);
    world.binds(at);
    match switched {
        Ok(events) => events.into_iter().for_each(|event| world.met(event)),
        Err(what) => world.violation(|| what),
    }
    world.power_may_fail(0.8);
    if at == before {
        world.violation(|| format!("id was replaced by another one that names {at:?} as well"));
    }
}
