//! The table behind Amazon's SDK: the only part of this crate that does I/O.
//!
//! A process has one client for each address, which its databases share. The SDK repeats nothing (`retry.rs` does).
//! Idle connections are not trusted, because a Lambda function that was frozen finds them dead and would wait for an
//! answer that never comes.
//!
//! The SDK runs on the runtime's own threads only, which block signals. Threads that it starts itself (for name
//! lookups) inherit that.

use crate::address::{Address, check_region};
use crate::request::{Answer, Request, attributes, used};
use crate::table::{Failure, FailureKind, Table};
use crate::wire::{self, Verdict};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, IdentityCache};
use aws_sdk_dynamodb::types::ReturnValue;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use seawall::Shown;
use seawall::ports::process::PerProcess;
use seawall::ports::threads;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;

/// A connection that was idle for longer than this is not used again.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);
/// How long an answer may take on an open connection. DynamoDB answers in milliseconds, so that a slower connection is
/// dead.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(700);
/// How long an answer may take if the connection must be opened first, on a machine with a small share of a processor.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait for the credentials alone. On a machine that has none the SDK tries several sources, several times.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// This process's tables. After a fork the child makes its own, because it does not have the parent's threads.
static TABLES: PerProcess<Mutex<Tables>> = PerProcess::new();

type Tables = HashMap<Address, Arc<SdkTable>>;

/// The table at `address`. This sends no request. The error says what is missing in the settings.
pub fn table(address: &Address) -> Result<Arc<SdkTable>, String> {
    let mut tables = TABLES.get().lock().expect("no panic while locked");
    if let Some(table) = tables.get(address) {
        return Ok(table.clone());
    }
    let table = Arc::new(SdkTable::new(address)?);
    tables.insert(address.clone(), table.clone());
    Ok(table)
}

/// A table behind the SDK.
pub struct SdkTable {
    address: Address,
    region: String,
    runtime: Runtime,
    link: Mutex<Link>,
    /// Held by the thread that reloads settings and credentials. Threads whose credentials are good do not wait for it.
    reloading: Mutex<()>,
    /// By how many milliseconds the server's clock is ahead.
    ahead: Arc<AtomicI64>,
}

/// The client, and when it was last used, by both clocks. The monotonic clock stops while a machine is frozen, and an
/// operator can set the wall clock.
struct Link {
    config: SdkConfig,
    client: Client,
    used: Option<(Instant, SystemTime)>,
    /// How often settings and credentials were read.
    loads: u32,
}

/// The client for one request.
struct Sender {
    client: Client,
    /// Whether it has connections that can be trusted.
    trusted: bool,
    /// The number of the load that its credentials come from.
    load: u32,
}

impl SdkTable {
    fn new(address: &Address) -> Result<SdkTable, String> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("seawall-dynamodb").enable_all();
        let runtime = threads::without_signals(|| builder.build())
            .map_err(|error| format!("no thread for its connections: {error}"))?;
        let config = settings(&runtime, address)?;
        let region = config.region().filter(|region| !region.as_ref().is_empty()).ok_or_else(|| {
            "no region is known: say dynamodb://TABLE?region=REGION, or set AWS_REGION or a profile's region".to_owned()
        })?;
        let region = region.to_string();
        check_region(&region)?;
        let ahead = Arc::new(AtomicI64::new(0));
        let link = Mutex::new(Link { client: wire::client(&config, &ahead), config, used: None, loads: 0 });
        Ok(SdkTable { address: address.clone(), region, runtime, link, reloading: Mutex::default(), ahead })
    }

    /// Where the table is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The credentials that requests are signed with, by the SDK's standard chain.
    pub fn credentials(&self) -> Result<Credentials, String> {
        let provider = self.link().config.credentials_provider();
        let provider = provider.ok_or("no source of credentials is set up")?;
        let found = on(&self.runtime, async move {
            tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.as_ref().provide_credentials()).await
        })?;
        let found = found.map_err(|_| format!("no source answered within {CREDENTIALS_TIMEOUT:?}"))?;
        found.map_err(|error| wire::reason(&error))
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().expect("no panic while locked")
    }

    /// The client for the next request.
    fn sender(&self) -> Sender {
        let mut link = self.link();
        let trusted = link.used.is_some_and(|(instant, wall)| {
            let by_wall = wall.elapsed().unwrap_or(Duration::MAX);
            instant.elapsed().max(by_wall) < TRUSTED_IDLE
        });
        if link.used.is_some() && !trusted {
            self.reconnect(&mut link);
        }
        link.used = Some((Instant::now(), SystemTime::now()));
        Sender { client: link.client.clone(), trusted, load: link.loads }
    }

    /// Closes all connections.
    fn reconnect(&self, link: &mut Link) {
        link.config = link.config.to_builder().http_client(http_client()).build();
        link.client = wire::client(&link.config, &self.ahead);
        link.used = None;
    }

    /// Reloads settings and credentials, which may have been rotated, unless another thread did since `load`. That can
    /// take seconds. Meanwhile other threads use what they have.
    fn reload(&self, load: u32) -> Result<(), String> {
        let _one_at_a_time = self.reloading.lock().expect("no panic while locked");
        if self.link().loads != load {
            return Ok(());
        }
        let config = settings(&self.runtime, &self.address)?;
        let client = wire::client(&config, &self.ahead);
        let mut link = self.link();
        *link = Link { client, config, used: None, loads: load + 1 };
        Ok(())
    }

    /// Runs an operation of the SDK: one attempt, with a time limit.
    pub fn run<T, E, F>(&self, operation: impl Fn(Client) -> F) -> Result<T, Verdict>
    where
        F: Future<Output = Result<T, wire::SdkFailure<E>>> + Send + 'static,
        T: Send + 'static,
        E: wire::ServiceFailure + Send + 'static,
    {
        let mut renewed = false;
        loop {
            let Sender { client, trusted, load } = self.sender();
            let limit = if trusted { ANSWER_TIMEOUT } else { FIRST_ANSWER_TIMEOUT };
            let asked = operation(client);
            let answer = on(&self.runtime, async move { tokio::time::timeout(limit, asked).await });
            let verdict = match answer {
                Ok(Ok(Ok(answer))) => return Ok(answer),
                Ok(Ok(Err(error))) => wire::verdict(error),
                Ok(Err(_)) => Verdict::NoAnswer(format!("no answer within {limit:?}")),
                Err(why) => Verdict::NoAnswer(why),
            };
            match &verdict {
                // The service refused the credentials before it did anything. One more attempt with fresh ones is safe.
                Verdict::Credentials(_) if !renewed => {
                    renewed = true;
                    if self.reload(load).is_err() {
                        return Err(verdict);
                    }
                }
                Verdict::NoAnswer(_) | Verdict::NotConnected(_) => {
                    self.reconnect(&mut self.link());
                    return Err(verdict);
                }
                _ => return Err(verdict),
            }
        }
    }

    /// What went wrong, with the table's place.
    fn failure(&self, verdict: Verdict, request: &Request) -> Failure {
        let kind = match verdict {
            Verdict::NotConnected(_) | Verdict::Throttled(_) => FailureKind::NotYet,
            Verdict::NoAnswer(_) | Verdict::ServerError(_) => FailureKind::Unclear,
            Verdict::Forbidden(_) => FailureKind::Permission,
            Verdict::ConditionFailed(_) | Verdict::Credentials(_) | Verdict::NoTable(_) | Verdict::Other(_) => {
                FailureKind::Hopeless
            }
        };
        let endpoint =
            self.address.endpoint.as_deref().map(|endpoint| format!(", {}", Shown::new(endpoint))).unwrap_or_default();
        let place = format!("the table {} in {}{endpoint}", self.address.table, self.region);
        Failure { kind, why: format!("{} on {place}: {}", request.action(), verdict.advice()) }
    }

    /// Sends a request, once. The error says what its failure means.
    pub fn send(&self, request: &Request) -> Result<Answer, Verdict> {
        let table = || Some(self.address.table.clone());
        match request {
            Request::Get { key } => self
                .run(|client: Client| {
                    let get = client.get_item().set_table_name(table()).key("pk", wire::string(key));
                    get.consistent_read(true).send()
                })
                .map(|output| Answer::Done(output.item.map(wire::item))),
            Request::Put { item, condition, values } => self
                .run(|client: Client| {
                    let put = client.put_item().set_table_name(table()).set_item(Some(wire::attributes(item)));
                    let put = put.condition_expression(*condition).return_values_on_condition_check_failure(AllOld);
                    let put = put.set_expression_attribute_names(wire::names(&attributes(&[condition])));
                    put.set_expression_attribute_values(wire::values(used(values, &[condition]))).send()
                })
                .map(|_| Answer::Done(None)),
            Request::Update { key, change, values } => self
                .run(|client: Client| {
                    let expressions = [change.condition, change.effect];
                    let update = client.update_item().set_table_name(table()).key("pk", wire::string(key));
                    let update = update.condition_expression(change.condition).update_expression(change.effect);
                    let update = update.return_values_on_condition_check_failure(AllOld);
                    let returns = if change.returns_item { ReturnValue::AllNew } else { ReturnValue::None };
                    let update = update.return_values(returns);
                    let update = update.set_expression_attribute_names(wire::names(&attributes(&expressions)));
                    update.set_expression_attribute_values(wire::values(used(values, &expressions))).send()
                })
                .map(|output| Answer::Done(output.attributes.map(wire::item))),
            Request::Delete { key, condition, values } => self
                .run(|client: Client| {
                    let delete = client.delete_item().set_table_name(table()).key("pk", wire::string(key));
                    let delete = delete.condition_expression(*condition);
                    let delete = delete.return_values_on_condition_check_failure(AllOld);
                    let delete = delete.set_expression_attribute_names(wire::names(&attributes(&[condition])));
                    delete.set_expression_attribute_values(wire::values(used(values, &[condition]))).send()
                })
                .map(|_| Answer::Done(None)),
        }
    }
}

impl Table for SdkTable {
    fn name(&self) -> &str {
        &self.address.table
    }

    fn region(&self) -> &str {
        &self.region
    }

    fn attempt(&self, request: &Request) -> Result<Answer, Failure> {
        match self.send(request) {
            Err(Verdict::ConditionFailed(item)) => Ok(Answer::Refused(item)),
            answer => answer.map_err(|verdict| self.failure(verdict, request)),
        }
    }

    fn clock_ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }
}

/// Runs `work` on the runtime's thread, and waits for it. The error says that it ended without an answer.
fn on<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let (answer, answered) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        // The receiver still exists, because the caller waits.
        let _ = answer.send(work.await);
    });
    answered.recv().map_err(|_| NO_ANSWER.to_owned())
}

const NO_ANSWER: &str = "an error inside the SDK: its task ended without an answer";

/// Reads the settings in a thread of its own, because the SDK blocks the thread on files, and other requests may run in
/// the runtime's.
fn settings(runtime: &Runtime, address: &Address) -> Result<SdkConfig, String> {
    let (answer, answered) = mpsc::sync_channel(1);
    let (handle, address) = (runtime.handle().clone(), address.clone());
    threads::without_signals(|| {
        runtime.spawn_blocking(move || {
            // The receiver still exists, because the caller waits.
            let _ = answer.send(handle.block_on(configuration(address)));
        })
    });
    answered.recv().map_err(|_| NO_ANSWER.to_owned())
}

/// Region, endpoint and credentials by the SDK's standard chain. `address` takes precedence.
async fn configuration(address: Address) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .identity_cache(IdentityCache::lazy().build())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = &address.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &address.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}

fn http_client() -> aws_sdk_dynamodb::config::SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).pool_idle_timeout(TRUSTED_IDLE).build_https()
}
