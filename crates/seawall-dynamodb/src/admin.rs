//! The table itself: describing one and creating one. For the command line; a database does not need these permissions.

use crate::item::names;
use crate::sdk::SdkTable;
use crate::wire::{ServiceFailure, Verdict};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::{
    create_table::CreateTableError, describe_continuous_backups::DescribeContinuousBackupsError,
    describe_table::DescribeTableError, describe_time_to_live::DescribeTimeToLiveError,
    update_continuous_backups::UpdateContinuousBackupsError,
};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    PointInTimeRecoveryStatus, ScalarAttributeType, TableStatus, TimeToLiveStatus,
};
use std::time::{Duration, Instant};

impl ServiceFailure for CreateTableError {}
impl ServiceFailure for DescribeContinuousBackupsError {}
impl ServiceFailure for DescribeTableError {}
impl ServiceFailure for DescribeTimeToLiveError {}
impl ServiceFailure for UpdateContinuousBackupsError {}

/// How long a new table may take to become active.
const CREATION_TIMEOUT: Duration = Duration::from_secs(60);

/// DynamoDB's code for a table that is too new for that.
const NOT_YET: &str = "ContinuousBackupsUnavailableException";

/// The table's key, as Seawall needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// One string key named `pk`.
    Right,
    /// Another key: its description, for people.
    Wrong(String),
}

/// A table's key and state.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its key.
    pub key: Key,
    /// Whether it can be used now.
    pub active: bool,
}

/// The table's key and state (`DescribeTable`).
pub fn facts(table: &SdkTable) -> Result<Facts, Verdict> {
    let name = || Some(table.address().table.clone());
    let described = table.run(|client: Client| client.describe_table().set_table_name(name()).send())?;
    let described = described.table.ok_or_else(|| Verdict::Other("the answer describes no table".into()))?;
    let key = described.key_schema();
    let kind_of = |attribute: &str| {
        let definitions = described.attribute_definitions().iter();
        definitions.filter(|definition| definition.attribute_name() == attribute).map(|it| it.attribute_type()).next()
    };
    let right = matches!(key, [only] if only.attribute_name() == names::PK)
        && kind_of(names::PK) == Some(&ScalarAttributeType::S);
    let part = |element: &KeySchemaElement| {
        let kind = kind_of(element.attribute_name()).map_or("?", ScalarAttributeType::as_str);
        format!("{} {} ({kind})", element.key_type(), element.attribute_name())
    };
    let key = if right { Key::Right } else { Key::Wrong(key.iter().map(part).collect::<Vec<_>>().join(", ")) };
    Ok(Facts { key, active: described.table_status() == Some(&TableStatus::Active) })
}

/// The attribute by whose time the table deletes items (`DescribeTimeToLive`).
pub fn time_to_live(table: &SdkTable) -> Result<Option<String>, Verdict> {
    let name = || Some(table.address().table.clone());
    let answer = table.run(|client: Client| client.describe_time_to_live().set_table_name(name()).send())?;
    let described = answer.time_to_live_description.filter(|described| {
        matches!(described.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
    });
    Ok(described.and_then(|described| described.attribute_name))
}

/// Whether the table can be restored to a point in time (`DescribeContinuousBackups`).
pub fn point_in_time_recovery(table: &SdkTable) -> Result<bool, Verdict> {
    let name = || Some(table.address().table.clone());
    let answer = table.run(|client: Client| client.describe_continuous_backups().set_table_name(name()).send())?;
    let status = answer
        .continuous_backups_description
        .and_then(|described| described.point_in_time_recovery_description)
        .and_then(|described| described.point_in_time_recovery_status);
    Ok(status == Some(PointInTimeRecoveryStatus::Enabled))
}

/// Creates the table, on demand, with the key that Seawall and django-sqlite-efs need, and waits until it can be used.
pub fn create(table: &SdkTable) -> Result<(), Verdict> {
    let name = || Some(table.address().table.clone());
    let invalid = |error: aws_sdk_dynamodb::error::BuildError| Verdict::Other(error.to_string());
    let key = KeySchemaElement::builder().attribute_name(names::PK).key_type(KeyType::Hash).build().map_err(invalid)?;
    let kind = AttributeDefinition::builder().attribute_name(names::PK).attribute_type(ScalarAttributeType::S);
    let kind = kind.build().map_err(invalid)?;
    table.run(|client: Client| {
        let create = client.create_table().set_table_name(name()).billing_mode(BillingMode::PayPerRequest);
        create.key_schema(key.clone()).attribute_definitions(kind.clone()).send()
    })?;
    let began = Instant::now();
    while !is_active(table)? {
        if began.elapsed() > CREATION_TIMEOUT {
            return Err(Verdict::Other("it was made, and is not active after a minute. Look again later".into()));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Whether the table can be used. A new table may not be known everywhere yet.
fn is_active(table: &SdkTable) -> Result<bool, Verdict> {
    match facts(table) {
        Err(Verdict::NoTable(_)) => Ok(false),
        facts => Ok(facts?.active),
    }
}

/// Lets the table be restored to any second of the last 35 days (`UpdateContinuousBackups`).
pub fn keep_points_in_time(table: &SdkTable) -> Result<(), Verdict> {
    let name = || Some(table.address().table.clone());
    let invalid = |error: aws_sdk_dynamodb::error::BuildError| Verdict::Other(error.to_string());
    let wanted = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true);
    let wanted = wanted.build().map_err(invalid)?;
    let update = |client: Client| {
        let update = client.update_continuous_backups().set_table_name(name());
        update.point_in_time_recovery_specification(wanted.clone()).send()
    };
    let began = Instant::now();
    loop {
        match table.run(update) {
            // A new table has no backups yet.
            Err(Verdict::Other(why)) if why.starts_with(NOT_YET) && began.elapsed() < CREATION_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(500));
            }
            answer => return answer.map(drop),
        }
    }
}
