//! The databases of a driver: all of one DuckDB instance, so that a query may join them.
//!
//! ```text
//!   Databases --enter("sales")--> DatabaseUse --connect()--> Connection, whose default database it is
//!      |                             '-- while there is one, the database can't be dropped
//!      '-- a file each in the driver's Home; or the one file, or memory, that a driver without one serves
//! ```
//!
//! Names are those of DuckDB: upper and lower case are the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use duckherder_engine::{Connection, Database};
use duckherder_proto::actions::DatabaseEntry;
use duckherder_storage::is_in_place;

use crate::directory::once_closed;
use crate::error::{DriverError, Result};
use crate::home::Home;
use crate::lease::Lease;
use crate::remembered::Remembered;
use crate::rows::{each, query};
use crate::sql::{quote_identifier, quote_text};
use crate::sync::lock;

/// The database of who names none, in a driver with a home. (Not `main`, which is every database's schema.)
const DEFAULT: &str = "duckherder";
/// A name is a file's, too, in which a byte may take three characters.
const MOST_NAME_BYTES: usize = 64;

/// Where a driver keeps its databases.
pub enum Storage<'a> {
    /// One database: a file, or `:memory:`.
    Alone(&'a str),
    /// Any number, and what else the driver remembers.
    Home(Home),
}

/// The databases of a driver.
pub struct Databases {
    instance: Database,
    home: Option<Home>,
    remembered: Remembered,
    default: String,
    /// See [`DatabaseUse::catalog_version`].
    life: u64,
    /// By lower-cased name.
    known: Mutex<BTreeMap<String, Known>>,
    /// Held while a database comes or goes.
    changing: Mutex<()>,
}

struct Known {
    /// Nothing: in memory, or not ours.
    file: Option<PathBuf>,
    /// Shared with each session that works in it.
    uses: Arc<()>,
}

impl Known {
    fn new(file: Option<PathBuf>) -> Self {
        Self { file, uses: Arc::default() }
    }

    fn sessions(&self) -> usize {
        Arc::strong_count(&self.uses) - 1
    }
}

/// A session's use of a database.
#[derive(Clone)]
pub struct DatabaseUse {
    name: String,
    is_default: bool,
    instance: Database,
    life: u64,
    _uses: Arc<()>,
}

impl DatabaseUse {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection that works in the database.
    ///
    /// # Errors
    /// DuckDB refuses.
    pub fn connect(&self) -> Result<Connection> {
        let connection = self.instance.connect()?;
        if !self.is_default {
            connection.execute(&format!("USE {}", quote_identifier(&self.name)))?;
        }
        Ok(connection)
    }
}

impl DatabaseUse {
    /// What DuckDB counts as the catalog's version, such that no other life of a driver counts the same.
    pub fn catalog_version(&self, counted: u64) -> u64 {
        self.life.wrapping_add(counted)
    }
}

/// A number for one life of the databases.
fn draw_life() -> u64 {
    // With what DuckDB counts, no more than 64 bits.
    uuid::Uuid::new_v4().as_u64_pair().0 >> 3
}

impl Databases {
    /// Opens DuckDB with all databases that there are.
    ///
    /// # Errors
    /// The directory belongs to another driver or version, or a file can't be opened.
    pub fn open(storage: Storage, settings: &[(String, String)]) -> Result<Self> {
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match storage {
            Storage::Alone(file) => {
                let instance = Database::open(file, &settings)?;
                let default = default_name(&instance)?;
                let known = BTreeMap::from([(default.clone(), Known::new(None))]);
                let remembered = Remembered::default();
                Ok(Self {
                    instance,
                    home: None,
                    remembered,
                    default,
                    life: draw_life(),
                    known: Mutex::new(known),
                    changing: Mutex::default(),
                })
            }
            Storage::Home(home) => Self::open_home(home, &settings),
        }
    }

    fn open_home(home: Home, settings: &[(&str, &str)]) -> Result<Self> {
        let remembered = home.remembered()?;
        let mut files = BTreeMap::new();
        for (name, file) in home.databases()? {
            let shown = file.display().to_string();
            if let Some(other) = files.insert(normal(&name), file) {
                return Err(DriverError::Storage(format!(
                    "{} and {shown} are both the database \"{name}\", since upper and lower case are the same: move \
                     one away",
                    other.display()
                )));
            }
        }
        let file = match files.remove(DEFAULT) {
            Some(file) => file,
            None => {
                let file = home.database_file(DEFAULT);
                home.make(&file)?;
                file
            }
        };
        let instance = home.open(text(&file)?, settings).map_err(|error| cannot_open(DEFAULT, &file, error))?;
        let known = BTreeMap::from([(DEFAULT.to_string(), Known::new(Some(file)))]);
        let default = DEFAULT.to_string();
        let databases = Self {
            instance,
            home: Some(home),
            remembered,
            default,
            life: draw_life(),
            known: Mutex::new(known),
            changing: Mutex::default(),
        };
        let connection = databases.instance.connect()?;
        // A database may need them.
        for name in databases.remembered.extensions() {
            connection.load_extension(&name).map_err(|error| {
                DriverError::Storage(format!(
                    "an extension that the driver had loaded can't be loaded again (to start without it, take it out of \
                     driver.json): {}",
                    error.message
                ))
            })?;
        }
        for (name, file) in files {
            check_name(&name).map_err(|error| DriverError::Storage(format!("{}: {error}", file.display())))?;
            databases.attach(&connection, &name, file)?;
        }
        Ok(databases)
    }

    /// The DuckDB that has them all.
    pub fn instance(&self) -> &Database {
        &self.instance
    }

    /// The right to answer for them, where a standby may take it.
    pub fn lease(&self) -> Option<Arc<dyn Lease>> {
        self.home.as_ref()?.lease()
    }

    /// What else outlives the process.
    pub fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    /// The database of that name, or the default one.
    ///
    /// # Errors
    /// There is none.
    pub fn enter(&self, name: Option<&str>) -> Result<DatabaseUse> {
        let name = name.map_or_else(|| self.default.clone(), normal);
        let known = lock(&self.known);
        let Some(found) = known.get(&name) else { return Err(self.no_database(name, &known)) };
        let is_default = name == self.default;
        let (instance, life) = (self.instance.clone(), self.life);
        Ok(DatabaseUse { name, is_default, instance, life, _uses: Arc::clone(&found.uses) })
    }

    /// Makes a database, if it is missing.
    ///
    /// # Errors
    /// The name is none, or the driver has no place for it.
    pub fn create(&self, name: &str) -> Result<()> {
        let name = normal(name);
        let _changing = lock(&self.changing);
        if lock(&self.known).contains_key(&name) { Ok(()) } else { self.add(&name, Home::make) }
    }

    /// Makes a database of the file that `make` puts into place, at once.
    ///
    /// # Errors
    /// There is one of that name, as for [`create`](Self::create), what `make` says, or the file is no database's.
    pub fn adopt(&self, name: &str, make: impl FnOnce(&Home, &Path) -> Result<()>) -> Result<()> {
        let _changing = lock(&self.changing);
        self.check_may_add(name)?;
        self.add(&normal(name), make)
    }

    /// Whether there may be a new database of the name, before much work is done for it.
    ///
    /// # Errors
    /// There is one, or the driver keeps none.
    pub fn check_may_add(&self, name: &str) -> Result<()> {
        let name = normal(name);
        if lock(&self.known).contains_key(&name) {
            return Err(DriverError::Database(format!(
                "the driver has a database \"{name}\" already: drop it first, or take another name"
            )));
        }
        if self.home.is_none() {
            return Err(no_home(&name));
        }
        check_name(&name)
    }

    /// With `changing` held, and no database of the name.
    fn add(&self, name: &str, make: impl FnOnce(&Home, &Path) -> Result<()>) -> Result<()> {
        let Some(home) = &self.home else { return Err(no_home(name)) };
        check_name(name)?;
        let connection = self.instance.connect()?;
        check_schemas(&connection, name)?;
        let file = home.database_file(name);
        if home.has(&file)? {
            return Err(DriverError::Database(format!(
                "{} came there while the driver ran: start the driver again to open it, or move it away",
                file.display()
            )));
        }
        make(home, &file)?;
        if let Err(error) = self.attach(&connection, name, file.clone()) {
            // It was no database; what is at fault is known already.
            let _ = home.discard(&file);
            return Err(error);
        }
        home.sync()
    }

    /// Opens a database's file.
    fn attach(&self, connection: &Connection, name: &str, file: PathBuf) -> Result<()> {
        let path = text(&file)?;
        once_closed(|| connection.attach(path, name)).map_err(|error| cannot_open(name, &file, error))?;
        lock(&self.known).insert(name.to_string(), Known::new(Some(file)));
        Ok(())
    }

    /// Removes a database and all that is in it.
    ///
    /// # Errors
    /// It is the default one, there is none, or sessions work in it.
    pub fn remove(&self, name: &str) -> Result<()> {
        let name = normal(name);
        let _changing = lock(&self.changing);
        let (home, file) = self.forget(&name)?;
        let detach = format!("DETACH {}", quote_identifier(&name));
        if let Err(error) = self.instance.connect().and_then(|connection| connection.execute(&detach)) {
            lock(&self.known).insert(name, Known::new(Some(file)));
            return Err(error.into());
        }
        // Before its files: a database that comes in its place must not have them.
        self.remembered.forget_names(&name)?;
        home.remove(&file)
    }

    /// Has nobody begin to use a database that nobody uses. Whoever enters another one does not wait for what it takes to
    /// close and remove it.
    fn forget(&self, name: &str) -> Result<(&Home, PathBuf)> {
        let mut known = lock(&self.known);
        let Some(found) = known.get(name) else { return Err(self.no_database(name.to_string(), &known)) };
        let (Some(home), Some(file)) = (&self.home, found.file.clone()) else { return Err(no_home(name)) };
        if name == self.default {
            return Err(DriverError::Database(format!(
                "database \"{name}\" is the driver's default one and can't be dropped: drop what is in it"
            )));
        }
        if found.sessions() > 0 {
            return Err(DriverError::Database(format!(
                "database \"{name}\" is in use by {} sessions: detach it everywhere first",
                found.sessions()
            )));
        }
        known.remove(name);
        Ok((home, file))
    }

    /// Other names of the tables of a database, or of the default one.
    ///
    /// # Errors
    /// There is no such database.
    pub fn table_names(&self, database: Option<&str>) -> Result<Vec<(String, String)>> {
        Ok(self.remembered.table_names(self.enter(database)?.name()))
    }

    /// Gives a table another name, for all clients that attach the database from now on.
    ///
    /// # Errors
    /// There is no such database, or a table or a view has that name.
    pub fn name_table(&self, database: Option<&str>, name: &str, table: &str) -> Result<()> {
        let database = self.enter(database)?;
        let sql = format!(
            "SELECT 1 FROM (SELECT database_name, schema_name, table_name AS name FROM duckdb_tables() \
             UNION ALL SELECT database_name, schema_name, view_name FROM duckdb_views()) \
             WHERE lower(database_name) = lower({}) AND schema_name = 'main' AND lower(name) = lower({})",
            quote_text(database.name()),
            quote_text(name)
        );
        let mut is_there = false;
        each(&query(&database.connect()?, &sql)?, |_| {
            is_there = true;
            Ok(())
        })?;
        if is_there {
            return Err(DriverError::Invalid(format!(
                "Failed to register table {name} because the driver has a table or view of that name!"
            )));
        }
        self.remembered.name_table(database.name(), name, table)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// There is no such database, or no such name.
    pub fn forget_name(&self, database: Option<&str>, name: &str) -> Result<()> {
        self.remembered.forget_name(self.enter(database)?.name(), name)
    }

    /// Makes sure that a file is not one that the driver has open, or will open one day: it is read and replaced as a
    /// whole.
    ///
    /// # Errors
    /// It is.
    pub fn check_not_own(&self, file: &Path) -> Result<()> {
        // What can't be found is no file that is open; whoever reads or writes it will say why.
        let place = |path: &Path| std::fs::canonicalize(path).ok();
        let own = |what: &str| Err(DriverError::Database(format!("{} is {what}: use another file", file.display())));
        let folder = file.parent().and_then(place);
        if self.home.as_ref().zip(folder).is_some_and(|(home, folder)| home.contains(&folder)) {
            return own("in the driver's own directory");
        }
        let Some(found) = place(file) else { return Ok(()) };
        let mut open = false;
        let sql = "SELECT path FROM duckdb_databases() WHERE path IS NOT NULL";
        each(&query(&self.instance.connect()?, sql)?, |row| {
            open |= place(Path::new(&row.text(0)?)).as_ref() == Some(&found);
            Ok(())
        })?;
        if open { own("a database that the driver has open") } else { Ok(()) }
    }

    /// Makes sure that an object is none of those that the driver's databases are made of.
    ///
    /// # Errors
    /// It is.
    pub fn check_not_own_object(&self, url: &str) -> Result<()> {
        let store = self.home.as_ref().and_then(Home::store);
        if store.is_some_and(|store| is_in_place(url, store.shown())) {
            return Err(DriverError::Database(format!("{url} is in the driver's own storage: use another place")));
        }
        Ok(())
    }

    /// Where files go that nobody needs for long.
    ///
    /// # Errors
    /// DuckDB's.
    pub fn temporary_directory(&self) -> Result<PathBuf> {
        self.instance.connect()?.temp_directory()?.ok_or_else(|| {
            DriverError::Invalid("the driver has no directory for temporary files: start it with one".to_string())
        })
    }

    /// Has DuckDB look into each of them.
    ///
    /// # Errors
    /// It can't work with one of them any more.
    pub fn try_all(&self) -> Result<()> {
        Ok(self.instance.connect()?.execute("SELECT count(*) FROM duckdb_schemas()")?)
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<DatabaseEntry> {
        let known = lock(&self.known);
        let entries = known.iter().map(|(name, database)| DatabaseEntry {
            name: name.clone(),
            is_default: *name == self.default,
            sessions: database.sessions() as u64,
            bytes: self.home.as_ref().zip(database.file.as_deref()).map(|(home, file)| home.size_bytes(file)),
        });
        entries.collect()
    }

    fn no_database(&self, name: String, known: &BTreeMap<String, Known>) -> DriverError {
        let there: Vec<_> = known.keys().map(|name| format!("\"{name}\"")).collect();
        let advice = match self.home {
            Some(_) => "attach it with create_if_missing true to create it",
            None => "a driver that is started with --data DIR or --storage URL may have several",
        };
        DriverError::NoDatabase(format!("the driver has no database \"{name}\", only {}: {advice}", there.join(", ")))
    }
}

/// How DuckDB tells names apart.
fn normal(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn default_name(instance: &Database) -> Result<String> {
    let mut name = String::new();
    each(&query(&instance.connect()?, "SELECT current_database()")?, |row| {
        name = normal(&row.text(0)?);
        Ok(())
    })?;
    Ok(name)
}

fn check_name(name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "a database needs a name".to_string()
    } else if name == "main" {
        "\"main\" is a schema of every database".to_string()
    } else if name.len() > MOST_NAME_BYTES {
        format!("\"{name}\" is longer than {MOST_NAME_BYTES} bytes")
    } else if name.contains(['/', '\\']) || name.contains(char::is_control) || name.starts_with('.') {
        format!("\"{}\" is a path or has characters that no name may have", name.escape_debug())
    } else {
        return Ok(());
    };
    Err(DriverError::Database(format!("this can't be a database's name: {problem}")))
}

/// DuckDB would not know whether `name.t` is in a schema of the session's database or in another database.
fn check_schemas(connection: &Connection, name: &str) -> Result<()> {
    let mut database = None;
    let sql = format!(
        "SELECT database_name FROM duckdb_schemas() WHERE lower(schema_name) = lower({}) LIMIT 1",
        quote_text(name)
    );
    each(&query(connection, &sql)?, |row| {
        database = Some(row.text(0)?);
        Ok(())
    })?;
    match database {
        Some(database) => Err(DriverError::Database(format!(
            "this can't be a database's name: database \"{database}\" has a schema \"{name}\""
        ))),
        None => Ok(()),
    }
}

fn text(file: &Path) -> Result<&str> {
    file.to_str().ok_or_else(|| DriverError::Storage(format!("{} is no text: rename it", file.display())))
}

fn cannot_open(name: &str, file: &Path, error: duckherder_engine::EngineError) -> DriverError {
    DriverError::Storage(format!("cannot open database \"{name}\" in {}: {}", file.display(), error.message))
}

fn no_home(name: &str) -> DriverError {
    DriverError::Database(format!(
        "the driver can't create or drop database \"{name}\", since it has no place for several: start it with \
         --data DIR or --storage URL"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_database_that_is_dropped_holds_up_nobody() {
        let directory = std::env::temp_dir().join(format!("duckherder-{}", uuid::Uuid::new_v4()));
        let home = Home::directory(&directory, "nowhere").unwrap();
        let databases = Databases::open(Storage::Home(home), &[]).unwrap();
        let connection = databases.instance.connect().unwrap();
        connection.execute("SET checkpoint_threshold = '1TB'").unwrap();
        // On a busy machine, it may be gone before anybody comes.
        let came_before_it_was_gone = (0..10).any(|_| {
            databases.create("large").unwrap();
            // It is closed with a checkpoint of all this.
            connection.execute("CREATE TABLE large.t AS SELECT hash(i) AS h FROM range(3_000_000) r(i)").unwrap();
            connection.execute("UPDATE large.t SET h = h // 2").unwrap();
            std::thread::scope(|scope| {
                let dropped = scope.spawn(|| databases.remove("large"));
                let begun = Instant::now();
                while lock(&databases.known).contains_key("large") {
                    assert!(begun.elapsed() < Duration::from_secs(60));
                }
                databases.enter(None).unwrap();
                let is_there = directory.join("large.duckdb").exists();
                dropped.join().unwrap().unwrap();
                assert!(!directory.join("large.duckdb").exists());
                is_there
            })
        });
        assert!(came_before_it_was_gone, "whoever comes meanwhile has to wait until it is gone");
        databases.create("large").unwrap();
        drop((connection, databases));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
