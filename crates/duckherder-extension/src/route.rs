//! The way to a driver that may be at one of several addresses: the one that is active, and the next one when that is
//! gone.
//!
//! ```text
//!   call --> line --> answer
//!              '--lost--> ask all addresses until one is active (20 s) --> once more, if that does no harm
//! ```
//!
//! With one address nothing of this happens: what is lost is an error at once.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use duckherder_engine::{EngineError, Result};
use duckherder_proto::hello::{DriverState, Hello};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::call::Line;
use crate::io_error;
use crate::lookout::Lookout;

/// How long another driver may take to become active.
pub const TAKEOVER_LIMIT: Duration = Duration::from_secs(20);
/// How long an address may take to say who is there, where others are to be asked, too.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// Between two rounds of asking all.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a driver may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// The addresses in `host`, which is one, or several `host:port` with commas between them.
    ///
    /// # Errors
    /// One of several has no port.
    pub fn parse(host: &str, port: u16) -> Result<Vec<Self>> {
        if !host.contains(',') {
            return Ok(vec![Self { host: host.to_string(), port }]);
        }
        let invalid = |text| EngineError::new("Invalid Input", format!("\"{text}\" is not of the form host:port"));
        let mut addresses = Vec::new();
        for text in host.split(',') {
            let (host, port) = text.rsplit_once(':').ok_or_else(|| invalid(text))?;
            let port = port.parse().map_err(|_| invalid(text))?;
            let address = Self { host: host.trim_matches(['[', ']']).to_string(), port };
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// Asks who is there.
    ///
    /// # Errors
    /// No driver of our version, or nobody in time.
    pub async fn ask(&self) -> Result<(Line, Hello)> {
        let asked = async {
            let line = Line::connect(&self.host, self.port).await?;
            let hello = line.greet().await?;
            Ok((line, hello))
        };
        tokio::time::timeout(ASK_LIMIT, asked)
            .await
            .unwrap_or_else(|_| Err(io_error(format!("{self} does not answer within {} s", ASK_LIMIT.as_secs()))))
    }
}

/// What is known of the driver whose databases an attachment is of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    databases: String,
    epoch: u64,
}

impl Known {
    fn of(hello: &Hello) -> Self {
        Self { databases: hello.databases.clone(), epoch: hello.epoch }
    }

    fn same_databases(&self, hello: &Hello) -> bool {
        !self.databases.is_empty() && self.databases == hello.databases
    }

    /// Whether that is a driver that has taken over.
    pub fn is_older_than(&self, hello: &Hello) -> bool {
        hello.state() == DriverState::Active && self.same_databases(hello) && hello.epoch > self.epoch
    }

    /// Whether that is the driver to go on with.
    fn goes_on_with(&self, hello: &Hello) -> bool {
        hello.state() == DriverState::Active && self.same_databases(hello) && hello.epoch >= self.epoch
    }
}

/// What may have happened when a call is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Nothing, however often it is made.
    pub reads: bool,
    /// It belongs to a transaction, of which the driver has answered a call before.
    pub transaction: Option<bool>,
}

impl Effect {
    pub const READS: Self = Self { reads: true, transaction: None };
    pub const WRITES: Self = Self { reads: false, transaction: None };

    /// After `lost`: nothing, if the call may be made once more.
    ///
    /// # Errors
    /// What to tell the user.
    pub fn once_more(self, lost: EngineError) -> Result<()> {
        match self.transaction {
            Some(true) => Err(self.told(lost)),
            _ if lost.is_elsewhere() || self.reads => Ok(()),
            _ => Err(self.told(lost)),
        }
    }

    /// What the user is told of a call that was `lost` and is not made again.
    pub fn told(self, lost: EngineError) -> EngineError {
        match self.transaction {
            Some(_) => transaction_lost(&lost),
            None if self.reads => lost,
            None => outcome_unknown(lost),
        }
    }
}

fn transaction_lost(lost: &EngineError) -> EngineError {
    let advice = "the transaction is lost, and what it did is undone: roll back and begin again";
    EngineError::new("TransactionContext", format!("{}; {advice}", lost.message))
}

/// A write that may have been done.
fn outcome_unknown(lost: EngineError) -> EngineError {
    if lost.is_elsewhere() {
        return EngineError::driver_elsewhere(format!("{}; nothing was done: run the statement again", lost.message));
    }
    let advice = "whether the statement was carried out is not known: look before you run it again";
    let said = lost.message.contains("is not known");
    EngineError::driver_lost(if said { lost.message } else { format!("{}; {advice}", lost.message) })
}

/// The way to a driver.
pub struct Route {
    addresses: Vec<Address>,
    state: Mutex<State>,
    /// Held while the active driver is looked for.
    finding: tokio::sync::Mutex<()>,
}

struct State {
    line: Line,
    known: Known,
    broken: bool,
}

impl Route {
    /// Finds the active driver.
    ///
    /// # Errors
    /// `IO`, naming the addresses, if there is none.
    pub async fn open(addresses: Vec<Address>) -> Result<Self> {
        let (line, known) = match addresses.as_slice() {
            [only] => {
                let line = Line::connect(&only.host, only.port).await?;
                let hello = line.greet().await?;
                active(only, &hello)?;
                (line, Known::of(&hello))
            }
            several => find(several, None).await?,
        };
        Ok(Self::along(addresses, line, known))
    }

    fn along(addresses: Vec<Address>, line: Line, known: Known) -> Self {
        let line = guarded(line, &known, &addresses);
        let state = Mutex::new(State { line, known, broken: false });
        Self { addresses, state, finding: tokio::sync::Mutex::default() }
    }

    /// The way to the driver at `address`, which is the active one, and otherwise to where this one leads.
    ///
    /// # Errors
    /// It is not active.
    pub async fn replaced_by(&self, address: Address) -> Result<Self> {
        let line = Line::connect(&address.host, address.port).await?;
        let hello = line.greet().await?;
        active(&address, &hello)?;
        let mut addresses = vec![address.clone()];
        if self.several() {
            addresses.extend(self.addresses.iter().filter(|known| **known != address).cloned());
        }
        Ok(Self::along(addresses, line, Known::of(&hello)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another driver may be found.
    pub fn several(&self) -> bool {
        self.addresses.len() > 1
    }

    /// The connection as it is, whether or not somebody answers.
    pub fn line(&self) -> Line {
        self.state().line.clone()
    }

    /// The longest that a call may take which is answered within `limit` otherwise.
    pub fn limit(&self, limit: Duration) -> Duration {
        if self.several() { limit + TAKEOVER_LIMIT } else { limit }
    }

    /// A connection to the active driver, as far as is known.
    ///
    /// # Errors
    /// There is none.
    pub async fn usable(&self) -> Result<Line> {
        let usable = || {
            let state = self.state();
            (!state.broken && !state.line.is_superseded()).then(|| state.line.clone())
        };
        if !self.several() {
            return Ok(self.line());
        }
        if let Some(line) = usable() {
            return Ok(line);
        }
        let _finding = self.finding.lock().await;
        if let Some(line) = usable() {
            return Ok(line);
        }
        let known = self.state().known.clone();
        let (line, known) = find(&self.addresses, Some(&known)).await?;
        tracing::debug!(driver = line.address, epoch = known.epoch, "going on with another connection");
        let line = guarded(line, &known, &self.addresses);
        *self.state() = State { line: line.clone(), known, broken: false };
        Ok(line)
    }

    /// The driver at the end of `line` is gone, or is not active any more.
    pub fn breaks(&self, line: &Line) {
        let mut state = self.state();
        if state.line.number == line.number {
            state.broken = true;
        }
    }

    /// Whether after `error` a statement that only reads may be run once more, over [`usable`](Self::usable).
    pub fn leads_on(&self, error: &EngineError) -> bool {
        self.several() && error.is_of_driver()
    }

    /// Makes sure, before rows are sent that can't be sent again, that somebody is there to take them.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub async fn ready(&self, effect: Effect) -> Result<Line> {
        if !self.several() || effect.transaction == Some(true) {
            return Ok(self.line());
        }
        self.call(Effect::READS, async |line| line.greet().await.map(|_| line)).await
    }

    /// Makes a call of such an effect; once more over another connection if that is needed, and does no harm.
    ///
    /// # Errors
    /// The call's; that no driver is active; that it is not known what has happened.
    pub async fn call<T>(&self, effect: Effect, make: impl AsyncFn(Line) -> Result<T>) -> Result<T> {
        loop {
            let line = match effect.transaction {
                // Another driver does not know it.
                Some(true) => self.line(),
                _ => self.usable().await?,
            };
            let lost = match line.unless_superseded(make(line.clone())).await {
                Err(error) if self.leads_on(&error) => error,
                answered => return answered,
            };
            self.breaks(&line);
            effect.once_more(lost)?;
            // A driver that says that it is not active says so at once.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What a call over a line of `addresses` needs to hear of a successor.
fn guarded(line: Line, known: &Known, addresses: &[Address]) -> Line {
    if known.databases.is_empty() || addresses.len() < 2 {
        return line;
    }
    line.watched_by(Lookout::start(known.clone(), addresses.to_vec()))
}

/// Makes sure that the driver at `address` takes statements.
fn active(address: &Address, hello: &Hello) -> Result<()> {
    match hello.state() {
        DriverState::Active => Ok(()),
        _ => Err(io_error(format!("the duckherder driver at {address} is not active: it is {}", state(hello)))),
    }
}

fn state(hello: &Hello) -> String {
    match hello.state() {
        DriverState::Active => "active".to_string(),
        DriverState::Standby => format!("a standby, which waits for the driver at {}", hello.waits_for),
        DriverState::Fenced => "fenced, since another driver has taken its databases over".to_string(),
    }
}

/// Asks all addresses until the active driver is found: of those that are `known`, or of any. Then it is the one of
/// the last epoch, and the first in order among several; and nobody waits where all addresses are dead.
async fn find(addresses: &[Address], known: Option<&Known>) -> Result<(Line, Known)> {
    let begun = Instant::now();
    loop {
        let mut asked: FuturesUnordered<_> =
            addresses.iter().enumerate().map(async |(place, address)| (place, address.ask().await)).collect();
        let mut answers = Vec::new();
        while let Some((place, answer)) = asked.next().await {
            if let (Some(known), Ok((line, hello))) = (known, &answer)
                && known.goes_on_with(hello)
            {
                return Ok((line.clone(), Known::of(hello)));
            }
            answers.push((place, answer));
        }
        answers.sort_by_key(|(place, _)| *place);
        if known.is_none() {
            let active = answers.iter().filter_map(|(place, answer)| {
                let (line, hello) = answer.as_ref().ok()?;
                (hello.state() == DriverState::Active).then_some((hello.epoch, addresses.len() - place, line, hello))
            });
            if let Some((_, _, line, hello)) = active.max_by_key(|(epoch, order, _, _)| (*epoch, *order)) {
                return Ok((line.clone(), Known::of(hello)));
            }
        }
        let hopeless = known.is_none() && answers.iter().all(|(_, answer)| answer.is_err());
        if hopeless || begun.elapsed() > TAKEOVER_LIMIT {
            let reasons: Vec<String> = answers
                .into_iter()
                .map(|(place, answer)| match answer {
                    Ok((_, hello)) if hello.state() == DriverState::Active => {
                        format!("the one at {} is active, but has other databases", addresses[place])
                    }
                    Ok((_, hello)) => format!("the one at {} is {}", addresses[place], state(&hello)),
                    Err(error) => error.message,
                })
                .collect();
            return Err(io_error(format!(
                "no duckherder driver is active (tried for {} s): {}",
                begun.elapsed().as_secs(),
                reasons.join("; ")
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_one_or_several() {
        let several = |host| Address::parse(host, 8815).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(several("a"), ["a:8815"]);
        assert_eq!(several("::1"), ["::1:8815"]);
        assert_eq!(several("a:1,b:2,a:1"), ["a:1", "b:2"]);
        assert_eq!(several("[::1]:1,b:2"), ["::1:1", "b:2"]);
        for host in ["a,b:1", "a:x,b:1", "a:1,"] {
            assert!(Address::parse(host, 8815).is_err(), "{host}");
        }
    }

    #[test]
    fn what_may_be_done_again() {
        let (lost, elsewhere) = (EngineError::driver_lost("gone"), EngineError::driver_elsewhere("standby"));
        let transaction = |reads, begun| Effect { reads, transaction: Some(begun) };
        let again = |effect: Effect, error: &EngineError| effect.once_more(error.clone()).is_ok();
        assert!(again(Effect::READS, &lost) && again(Effect::READS, &elsewhere));
        assert!(!again(Effect::WRITES, &lost) && again(Effect::WRITES, &elsewhere));
        assert!(again(transaction(true, false), &lost) && again(transaction(false, false), &elsewhere));
        assert!(!again(transaction(false, false), &lost));
        assert!(!again(transaction(true, true), &lost) && !again(transaction(true, true), &elsewhere));
        let told = Effect::WRITES.once_more(lost.clone()).unwrap_err().for_user();
        assert!(told.exception_type == "IO" && told.message.contains("is not known"), "{told}");
        let told = transaction(true, true).once_more(lost).unwrap_err().for_user();
        assert!(told.exception_type == "TransactionContext" && told.message.contains("roll back"), "{told}");
    }

    #[test]
    fn only_the_same_databases_go_on() {
        let hello = |databases: &str, epoch, state: DriverState| Hello {
            databases: databases.to_string(),
            epoch,
            state: state.into(),
            ..Hello::from("driver")
        };
        let known = Known::of(&hello("x", 3, DriverState::Active));
        assert!(known.goes_on_with(&hello("x", 3, DriverState::Active)));
        assert!(known.goes_on_with(&hello("x", 4, DriverState::Active)));
        assert!(!known.goes_on_with(&hello("x", 2, DriverState::Active)));
        assert!(!known.goes_on_with(&hello("y", 4, DriverState::Active)));
        assert!(!known.goes_on_with(&hello("x", 4, DriverState::Fenced)));
        assert!(!Known::default().goes_on_with(&hello("", 0, DriverState::Active)));
        assert!(known.is_older_than(&hello("x", 4, DriverState::Active)));
        assert!(!known.is_older_than(&hello("x", 3, DriverState::Active)));
    }
}
