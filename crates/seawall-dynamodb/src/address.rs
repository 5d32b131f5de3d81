//! Where a head is: `dynamodb://TABLE?region=REGION&endpoint=URL`.

use url::Url;

/// A table, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The table's name.
    pub table: String,
    /// The AWS region; by default that of the environment or the profile.
    pub region: Option<String>,
    /// Another endpoint than the region's own: DynamoDB Local, for example.
    pub endpoint: Option<String>,
}

impl Address {
    /// Reads a coordinator's URL. The error says what is wrong with it.
    pub fn parse(url: &str) -> Result<Address, String> {
        let parsed = Url::parse(url).map_err(|error| format!("it is not a URL: {error}"))?;
        let table = parsed.host_str().unwrap_or_default().to_owned();
        // The rule for a table's name in the DynamoDB developer guide.
        let may_be = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !(3..=255).contains(&table.len()) || !table.chars().all(may_be) {
            return Err(format!("{table:?} cannot be a table's name: 3 to 255 letters, digits, '_', '-' and '.'"));
        }
        if !matches!(parsed.path(), "" | "/") || parsed.port().is_some() || !parsed.username().is_empty() {
            return Err("after the table's name come only ?region= and &endpoint=".into());
        }
        let mut address = Address { table, region: None, endpoint: None };
        for (key, value) in parsed.query_pairs() {
            let field = match &*key {
                "region" => &mut address.region,
                "endpoint" => &mut address.endpoint,
                _ => return Err(format!("{key}= is unknown; there are region= and endpoint=")),
            };
            *field = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        if let Some(endpoint) = &address.endpoint {
            let scheme = Url::parse(endpoint).map_err(|error| format!("endpoint={endpoint}: {error}"))?;
            if !matches!(scheme.scheme(), "http" | "https") {
                return Err(format!("endpoint={endpoint}: it begins with http:// or https://"));
            }
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_alone_and_with_all_there_is() {
        let address = |url| Address::parse(url).unwrap();
        assert_eq!(address("dynamodb://Locks_1"), Address { table: "Locks_1".into(), region: None, endpoint: None });
        let whole = address("dynamodb://locks?region=eu-west-1&endpoint=http://127.0.0.1:8000");
        assert_eq!(whole.region.as_deref(), Some("eu-west-1"));
        assert_eq!(whole.endpoint.as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(address("dynamodb://locks?region="), address("dynamodb://locks"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, why) in [
            ("dynamodb:", "cannot be a table's name"),
            ("dynamodb://ab", "cannot be a table's name"),
            ("dynamodb://a table", "not a URL"),
            ("dynamodb://locks/more", "only ?region="),
            ("dynamodb://locks?regoin=x", "regoin= is unknown"),
            ("dynamodb://locks?endpoint=ftp://x", "begins with http"),
        ] {
            let said = Address::parse(url).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
        }
    }
}
