//! The database that a command is for: its arguments, and how it is opened.

use crate::answer::Failure;
use crate::{coordinators, name};
use clap::Args;
use seawall::ports::storage::os::OsStorage;
use seawall::ports::storage::{Begun, File, Storage};
use seawall::{Access, Database, Error, HeldFile, Options, PlainSqlite};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Which database, and how the answer is printed.
#[derive(Args)]
pub(crate) struct Target {
    /// The database's path.
    name: PathBuf,
    /// fs: or dynamodb://TABLE?region=REGION. The default is the coordinator that the database is bound to. It is
    /// needed only where the table is reached by an endpoint.
    #[arg(long, value_name = "URL")]
    coordinator: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Target {
    /// NAME as the engine uses it, as far as it can be resolved.
    pub(crate) fn path(&self) -> PathBuf {
        name::whole(&self.name)
    }

    /// The coordinator that a next command has to name: the one that the user named, or that the database was moved to.
    /// Nothing, if the command finds it without.
    pub(crate) fn coordinator_to_name(&self, moved_to: Option<String>) -> Option<String> {
        let named = moved_to.or_else(|| self.coordinator.clone())?;
        let found = name::identity(&self.path()).map(|identity| coordinators::by_default(Some(identity.coordinator)));
        (found.as_ref() != Some(&named)).then_some(named)
    }

    /// NAME, as texts have it.
    pub(crate) fn shown(&self) -> String {
        self.path().to_string_lossy().into_owned()
    }

    /// Opens the database, which must be one already. Changes nothing.
    pub(crate) fn open(&self) -> Result<Arc<Database>, Failure> {
        let (path, options) = self.resolve()?;
        Ok(open(&path, options.coordinator)?)
    }

    /// Where the database is, and how it is opened.
    pub(crate) fn resolve(&self) -> Result<(PathBuf, Options), Failure> {
        self.must_be_a_path()?;
        Ok(resolve(&self.name, self.coordinator.clone())?)
    }

    /// NAME must be a path.
    pub(crate) fn must_be_a_path(&self) -> Result<(), Failure> {
        if !name::is_uri(&self.name) {
            return Ok(());
        }
        let name = self.name.to_string_lossy();
        Err(Failure::usage(format!(
            "{name} is one of SQLite's URIs, or a database in memory: name the file by its path"
        )))
    }

    /// A file must lie at NAME, or a database's folder beside it.
    pub(crate) fn must_exist(&self) -> Result<(), Failure> {
        Ok(must_be_a_file(&self.path())?)
    }

    /// NAME must have a folder with an `id`, or one in which `or` was begun. The error is the one of opening NAME, which
    /// says what is there instead.
    pub(crate) fn must_be_a_database(&self, or: Option<Begun>) -> Result<(), Failure> {
        let path = self.path();
        let looking = |error| Error::io("looking into the folder", error);
        let storage = OsStorage::new(&path).map_err(looking)?;
        let has_folder = storage.inode(File::Folder).map_err(looking)?.is_some();
        if storage.home(File::Id).map_err(looking)?.is_some()
            || has_folder && or.is_some() && or == Some(storage.begun().map_err(looking)?)
        {
            return Ok(());
        }
        Ok(open(&path, coordinators::by_default(None)).map(drop)?)
    }

    /// The coordinator that was asked for, or else the one that the database is bound to, if its folder says so.
    pub(crate) fn bound_to(&self) -> Option<String> {
        seawall_dynamodb::register();
        let bound = || Some(coordinators::by_default(Some(name::identity(&self.path())?.coordinator)));
        self.coordinator.clone().or_else(bound)
    }

    /// How the database is reached by a command that opens it in its own way.
    pub(crate) fn options(&self) -> Options {
        options_with(self.bound_to().unwrap_or_else(|| coordinators::by_default(None)))
    }
}

/// Where the database `name` is, and how it is opened: with this coordinator, or with its own.
pub(crate) fn resolve(name: &Path, coordinator: Option<String>) -> seawall::Result<(PathBuf, Options)> {
    seawall_dynamodb::register();
    let path = name::whole(name);
    must_be_a_file(&path)?;
    let bound = name::identity(&path).map(|identity| identity.coordinator);
    Ok((path, options_with(coordinator.unwrap_or_else(|| coordinators::by_default(bound)))))
}

/// What this process does for the database, its commands do; it ends when they are done.
fn options_with(coordinator: String) -> Options {
    Options { coordinator, upkeep: false, ..Options::default() }
}

/// Opens the database at `name`, which must be one already. Changes nothing.
pub(crate) fn open(name: &Path, coordinator: String) -> seawall::Result<Arc<Database>> {
    seawall_dynamodb::register();
    Database::open(name, Access::ReadOnly, &options_with(coordinator), &NoAdoption)
}

/// What lies at NAME must be a file, as far as this user can see it. Where only its folder is there, opening says more.
fn must_be_a_file(name: &Path) -> Result<(), Error> {
    let shown = name.display();
    match std::fs::metadata(name) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Error::NoDatabase(format!("{shown} is no file, so it is no database"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut folder = name.as_os_str().to_owned();
            folder.push("-seawall");
            if Path::new(&folder).exists() {
                return Ok(());
            }
            Err(Error::NoDatabase(format!("{shown} does not exist. Name the file of a database that is there")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Error::NoDatabase(format!(
            "{shown} does not exist: a file is in the place of a folder on the way there"
        ))),
        Err(error) => Err(Error::io(format!("looking at {shown}"), error)),
    }
}

/// A command adopts nothing.
pub(crate) struct NoAdoption;

impl PlainSqlite for NoAdoption {
    fn hold(&self, _: &Path, _: bool, _: Duration) -> seawall::Result<Box<dyn HeldFile>> {
        Err(Error::ReadOnly("this command adopts nothing".into()))
    }
}
