//! Reading: the same for the writer, for the CLI beside a running daemon, and for a copy on a read-only disk.

use crate::{
    chain,
    entry::{Entry, EntryKind, Filter},
    error::LedgerError,
    schema,
};
use rusqlite::{Connection, OpenFlags, Row, types::Value};
use salve_model::Tenant;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::Duration,
};

/// Rows that one query of [`Entries`] fetches.
const PAGE_ROWS: u64 = 256;

/// Read access to a ledger, with or without a daemon that writes it.
#[derive(Debug)]
pub struct LedgerReader {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
}

impl LedgerReader {
    /// Opens the ledger at `path` for reading.
    ///
    /// # Errors
    /// [`LedgerError::Missing`], [`LedgerError::NotALedger`], [`LedgerError::NewerSchema`], or SQLite's word.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        if !path.exists() {
            return Err(LedgerError::Missing { path: path.into() });
        }
        let failed = |source| LedgerError::Sqlite { step: "open for reading", path: path.into(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        match schema::version(&connection, path) {
            Ok(0) => Err(LedgerError::NotALedger { path: path.into() }),
            Ok(_) => Ok(Self { connection, path: path.into() }),
            // In a folder that cannot be written, SQLite cannot make the WAL's index; without a WAL none is needed.
            Err(LedgerError::Sqlite { .. }) if !has_wal(path) => {
                let connection =
                    Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)
                        .map_err(failed)?;
                match schema::version(&connection, path)? {
                    0 => Err(LedgerError::NotALedger { path: path.into() }),
                    _ => Ok(Self { connection, path: path.into() }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The entries that `filter` selects, oldest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn entries(&self, filter: Filter) -> Result<Vec<Entry>, LedgerError> {
        self.stream(filter).collect()
    }

    /// The same, page by page, for results that do not fit into memory.
    #[must_use]
    pub fn stream(&self, filter: Filter) -> Entries<'_> {
        Entries::new(&self.connection, &self.path, filter)
    }

    /// All transitions, oldest first, for recovery.
    #[must_use]
    pub fn transitions(&self) -> Entries<'_> {
        self.stream(Filter::kinds(&[EntryKind::Transition]))
    }

    /// Write intents without a result, oldest first: writes of which a crash left the outcome in doubt.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn unfinished_intents(&self) -> Result<Vec<Entry>, LedgerError> {
        unfinished_intents(&self.connection, &self.path)
    }

    /// Number and hash (lower-case hex) of the newest entry; 0 and zeros if there is none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn head(&self) -> Result<(u64, String), LedgerError> {
        head(&self.connection)
            .map(|(seq, hash)| (seq, chain::hex(&hash)))
            .map_err(|source| LedgerError::Sqlite { step: "read the head", path: self.path.clone(), source })
    }
}

/// Number and hash of the newest entry.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<(u64, chain::Hash)> {
    connection.query_row("SELECT seq, hash FROM head", [], |row| Ok((number(row, 0)?, row.get(1)?)))
}

/// See [`LedgerReader::unfinished_intents`].
pub(crate) fn unfinished_intents(connection: &Connection, path: &Path) -> Result<Vec<Entry>, LedgerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entry WHERE kind = 'write_intent' AND NOT EXISTS \
         (SELECT 1 FROM entry AS result WHERE result.answers = entry.seq AND result.kind = 'write_result') \
         ORDER BY seq"
    );
    query(connection, path, &sql, Vec::new()).map(Vec::from)
}

/// Entries, fetched page by page. Each page sees what was committed by then.
#[derive(Debug)]
pub struct Entries<'a> {
    connection: &'a Connection,
    path: &'a Path,
    filter: Filter,
    page: VecDeque<Entry>,
    left: u64,
    done: bool,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(connection: &'a Connection, path: &'a Path, filter: Filter) -> Self {
        let left = filter.limit.unwrap_or(u64::MAX);
        Self { connection, path, filter, page: VecDeque::new(), left, done: false }
    }

    fn fetch(&mut self) -> Result<(), LedgerError> {
        let rows = PAGE_ROWS.min(self.left);
        let mut parameters = vec![Value::Integer(integer(self.filter.from_seq))];
        let mut sql = format!("SELECT {COLUMNS} FROM entry WHERE seq >= ?1");
        if let Some(incident) = &self.filter.incident {
            parameters.push(Value::Text(incident.clone()));
            sql.push_str(&format!(" AND incident = ?{}", parameters.len()));
        }
        if let Some(tenant) = &self.filter.tenant {
            parameters.push(Value::Text(tenant.0.clone()));
            sql.push_str(&format!(" AND tenant = ?{}", parameters.len()));
        }
        if !self.filter.kinds.is_empty() {
            let first = parameters.len() + 1;
            parameters.extend(self.filter.kinds.iter().map(|kind| Value::Text(kind.as_str().into())));
            let places: Vec<String> = (first..=parameters.len()).map(|place| format!("?{place}")).collect();
            sql.push_str(&format!(" AND kind IN ({})", places.join(", ")));
        }
        sql.push_str(&format!(" ORDER BY seq LIMIT {rows}"));
        self.page = query(self.connection, self.path, &sql, parameters)?;
        self.left -= self.page.len() as u64;
        self.done = (self.page.len() as u64) < rows || self.left == 0;
        if let Some(last) = self.page.back() {
            self.filter.from_seq = last.seq + 1;
        }
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.done
            && let Err(error) = self.fetch()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

const COLUMNS: &str = "seq, now_ms, tenant, incident, kind, schema_version, answers, payload, hash";

fn query(
    connection: &Connection,
    path: &Path,
    sql: &str,
    parameters: Vec<Value>,
) -> Result<VecDeque<Entry>, LedgerError> {
    let failed = |source| LedgerError::Sqlite { step: "read entries", path: path.into(), source };
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let mut rows = statement.query(rusqlite::params_from_iter(parameters)).map_err(failed)?;
    let mut entries = VecDeque::new();
    while let Some(row) = rows.next().map_err(failed)? {
        entries.push_back(entry(row, failed)?);
    }
    Ok(entries)
}

fn entry(row: &Row<'_>, failed: impl Fn(rusqlite::Error) -> LedgerError) -> Result<Entry, LedgerError> {
    let seq = number(row, 0).map_err(&failed)?;
    let kind: String = row.get(4).map_err(&failed)?;
    let payload: Option<String> = row.get(7).map_err(&failed)?;
    let hash: Vec<u8> = row.get(8).map_err(&failed)?;
    Ok(Entry {
        seq,
        now_ms: number(row, 1).map_err(&failed)?,
        tenant: Tenant(row.get(2).map_err(&failed)?),
        incident: row.get(3).map_err(&failed)?,
        kind: EntryKind::parse(&kind).ok_or_else(|| LedgerError::Row {
            seq,
            what: format!("its kind `{}` is not known", salve_model::text::escape(&kind, 64)),
        })?,
        schema_version: row.get(5).map_err(&failed)?,
        answers: match row.get::<_, Option<i64>>(6).map_err(&failed)? {
            None => None,
            Some(_) => Some(number(row, 6).map_err(&failed)?),
        },
        payload: payload
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|source| LedgerError::Payload { seq, source })?,
        hash: chain::hex(&hash),
    })
}

/// A column that holds no negative numbers.
pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// For comparisons: a number beyond all that a file can hold stays beyond them.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn has_wal(path: &Path) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    Path::new(&name).metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// `path` as a URI that tells SQLite that nobody changes the file.
fn immutable_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}
