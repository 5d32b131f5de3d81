//! The SDK's types in Seawall's: values, and what the SDK's errors mean.

use crate::item::{Item, Value};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::{
    delete_item::DeleteItemError, get_item::GetItemError, put_item::PutItemError, update_item::UpdateItemError,
};
use aws_sdk_dynamodb::primitives::{Blob, DateTime, DateTimeFormat};
use aws_sdk_dynamodb::types::AttributeValue;
use seawall::Shown;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

pub(crate) type SdkFailure<E> = SdkError<E, HttpResponse>;

/// What an attempt that failed means.
#[derive(Debug)]
pub enum Verdict {
    /// The condition did not hold; this was the item.
    ConditionFailed(Option<Item>),
    /// Nothing was sent: there was no connection.
    NotConnected(String),
    /// It may have been carried out, or may still be.
    NoAnswer(String),
    /// The server failed. The request may have been carried out.
    ServerError(String),
    /// Refused for now.
    Throttled(String),
    /// The credentials are missing or have expired, or the clock that signed them is wrong.
    Credentials(String),
    /// The credentials do not allow it.
    Forbidden(String),
    /// There is no such table.
    NoTable(String),
    /// Refused for good.
    Other(String),
}

impl Verdict {
    /// What happened, for people.
    pub fn why(&self) -> &str {
        match self {
            Verdict::ConditionFailed(_) => "its condition did not hold",
            Verdict::NotConnected(why)
            | Verdict::NoAnswer(why)
            | Verdict::ServerError(why)
            | Verdict::Throttled(why)
            | Verdict::Credentials(why)
            | Verdict::Forbidden(why)
            | Verdict::NoTable(why)
            | Verdict::Other(why) => why,
        }
    }

    /// What happened, and what to do about it, for people.
    pub fn advice(&self) -> String {
        match self {
            Verdict::NotConnected(why) => format!(
                "no connection ({why}). Is the endpoint right, and, in a VPC without internet, is there a gateway endpoint for DynamoDB?"
            ),
            Verdict::ConditionFailed(_) | Verdict::NoAnswer(_) | Verdict::ServerError(_) => self.why().to_owned(),
            Verdict::Throttled(why) => {
                format!("{why} (the table's throughput is used up; use on-demand capacity)")
            }
            Verdict::Credentials(why) => {
                format!(
                    "the credentials are not accepted: {why}. Are they set and current, and is this machine's clock right?"
                )
            }
            Verdict::Forbidden(why) => format!("{why}. seawall init prints the policy that is needed"),
            Verdict::NoTable(_) => {
                "there is no such table there. Is the region right? seawall init --create-table makes one".into()
            }
            Verdict::Other(why) => format!("{why}. seawall doctor says what is wrong with the table"),
        }
    }
}

/// An operation's own error.
pub trait ServiceFailure: ProvideErrorMetadata + Error + Send + Sync + 'static {
    /// The old item, where the condition failed.
    fn refused(self) -> Result<Option<HashMap<String, AttributeValue>>, Self>
    where
        Self: Sized,
    {
        Err(self)
    }
}

macro_rules! conditional {
    ($($error:ident),+) => {
        $(impl ServiceFailure for $error {
            fn refused(self) -> Result<Option<HashMap<String, AttributeValue>>, Self> {
                match self {
                    $error::ConditionalCheckFailedException(failed) => Ok(failed.item),
                    other => Err(other),
                }
            }
        })+
    };
}

conditional!(PutItemError, UpdateItemError, DeleteItemError);
impl ServiceFailure for GetItemError {}

/// What an error of the SDK means.
pub(crate) fn verdict<E: ServiceFailure>(error: SdkFailure<E>) -> Verdict {
    match error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            match context.into_err().refused() {
                Ok(item) => Verdict::ConditionFailed(item.map(self::item)),
                Err(error) => of_code(status, error.code().unwrap_or_default(), error.message().unwrap_or_default()),
            }
        }
        SdkError::DispatchFailure(ref failure) => {
            let why = reason(&error);
            if never_connected(&error) {
                Verdict::NotConnected(why)
            } else if failure.is_io() || failure.is_timeout() {
                Verdict::NoAnswer(why)
            } else {
                // A request is signed before it is sent, so that this is a failure of the credentials.
                Verdict::Credentials(why)
            }
        }
        SdkError::ConstructionFailure(_) => Verdict::Credentials(reason(&error)),
        _ => Verdict::NoAnswer(reason(&error)),
    }
}

/// By the service's own code (DynamoDB developer guide, "Error handling").
fn of_code(status: u16, code: &str, message: &str) -> Verdict {
    let why = if message.is_empty() { Shown::new(code) } else { Shown::new(format_args!("{code}: {message}")) };
    let why = String::from(why);
    match code {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "Throttling"
        | "LimitExceededException" => Verdict::Throttled(why),
        "AccessDeniedException" => Verdict::Forbidden(Shown::new(message).into()),
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "RequestExpired" => Verdict::Credentials(why),
        "ResourceNotFoundException" => Verdict::NoTable(why),
        _ if status >= 500 => Verdict::ServerError(why),
        _ => Verdict::Other(why),
    }
}

/// Whether nothing can have been sent. An error that this does not recognize counts as sent, which is safe.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        // The connector's own time limit has no public type, only this text.
        if error.to_string().starts_with("HTTP connect timeout") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost cause, which is the useful one.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> String {
    let whole = DisplayErrorContext(error).to_string();
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    let text = if text.is_empty() { whole } else { text };
    // Some are several lines long.
    Shown::new(text.lines().map(str::trim).collect::<Vec<_>>().join("; ")).into()
}

/// A client for `config` that notes how far the server's clock is ahead.
pub(crate) fn client(config: &aws_config::SdkConfig, ahead: &Arc<AtomicI64>) -> Client {
    let config = aws_sdk_dynamodb::config::Builder::from(config).interceptor(ClockWatch(ahead.clone())).build();
    Client::from_conf(config)
}

/// Reads the `Date` of each answer.
#[derive(Debug)]
struct ClockWatch(Arc<AtomicI64>);

/// Smaller differences mean nothing, because the header has whole seconds and the answer took time to arrive.
const REPORTED_MILLIS: i64 = 2000;

impl Intercept for ClockWatch {
    fn name(&self) -> &'static str {
        "seawall's clock watch"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok()) {
            let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
            let ahead = date.secs() * 1000 - i64::try_from(here).unwrap_or(i64::MAX);
            self.0.store(if ahead.abs() < REPORTED_MILLIS { 0 } else { ahead }, Ordering::Relaxed);
        }
        Ok(())
    }
}

pub(crate) fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn value(value: &Value) -> AttributeValue {
    match value {
        Value::Text(text) => AttributeValue::S(text.clone()),
        Value::Number(number) => AttributeValue::N(number.clone()),
        Value::Binary(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
        Value::Other => AttributeValue::Null(true),
    }
}

pub(crate) fn attributes(item: &Item) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, content)| (name.clone(), value(content))).collect()
}

/// The attributes of an item. An attribute of any type is kept, because conditions ask whether it exists.
pub(crate) fn item(attributes: HashMap<String, AttributeValue>) -> Item {
    let value = |value| match value {
        AttributeValue::S(text) => Value::Text(text),
        AttributeValue::N(number) => Value::Number(number),
        AttributeValue::B(bytes) => Value::Binary(bytes.into_inner()),
        _ => Value::Other,
    };
    attributes.into_iter().map(|(name, content)| (name, value(content))).collect()
}

/// `#name` for each name; DynamoDB refuses an empty map.
pub(crate) fn names(names: &[&str]) -> Option<HashMap<String, String>> {
    let map: HashMap<_, _> = names.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect();
    Some(map).filter(|map| !map.is_empty())
}

pub(crate) fn values(values: Vec<(&'static str, Value)>) -> Option<HashMap<String, AttributeValue>> {
    let map: HashMap<_, _> = values.iter().map(|(name, content)| (format!(":{name}"), value(content))).collect();
    Some(map).filter(|map| !map.is_empty())
}
