//! The address of a table: `dynamodb://TABLE?region=REGION&endpoint=URL`.

use seawall::Shown;
use url::{Host, Url};

/// A table, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The table's name.
    pub table: String,
    /// The AWS region; by default that of the environment or the profile.
    pub region: Option<String>,
    /// An endpoint other than the region's own, for example DynamoDB Local.
    pub endpoint: Option<String>,
}

impl Address {
    /// Reads a coordinator's URL. The error says what is wrong with it.
    pub fn parse(url: &str) -> Result<Address, String> {
        let parsed = Url::parse(url).map_err(|error| format!("it is not a URL: {error}"))?;
        if parsed.scheme() != "dynamodb" {
            return Err("it begins with dynamodb://".into());
        }
        if has_user(&parsed) {
            return Err(NO_USER.into());
        }
        let table = parsed.host_str().unwrap_or_default().to_owned();
        // The rule for a table's name in the DynamoDB developer guide.
        let may_be = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !(3..=255).contains(&table.len()) || !table.chars().all(may_be) {
            let table = Shown::new(table);
            return Err(format!("\"{table}\" cannot be a table's name: 3 to 255 letters, digits, '_', '-' and '.'"));
        }
        if !matches!(parsed.path(), "" | "/") || parsed.port().is_some() || parsed.fragment().is_some() {
            return Err("after the table's name come only ?region= and &endpoint=".into());
        }
        let mut address = Address { table, region: None, endpoint: None };
        for (key, value) in parsed.query_pairs() {
            let field = match &*key {
                "region" => &mut address.region,
                "endpoint" => &mut address.endpoint,
                _ => return Err(format!("{}= is unknown; there are region= and endpoint=", Shown::new(key))),
            };
            *field = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        if let Some(region) = &address.region {
            check_region(region)?;
        }
        if let Some(endpoint) = &address.endpoint {
            check_endpoint(endpoint).map_err(|why| format!("endpoint={}: {why}", Shown::new(endpoint)))?;
        }
        Ok(address)
    }
}

const NO_USER: &str =
    "no user and no password belong there, because credentials come from the environment, a profile, or the role";

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// A region becomes part of the name of the host that requests are sent to. Therefore only letters, digits and '-' are
/// accepted.
pub(crate) fn check_region(region: &str) -> Result<(), String> {
    if (1..=63).contains(&region.len()) && region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Ok(());
    }
    Err(format!("\"{}\" cannot be a region's name: letters, digits and '-', as in eu-west-1", Shown::new(region)))
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let url = Url::parse(endpoint).map_err(|error| error.to_string())?;
    if has_user(&url) {
        return Err(NO_USER.into());
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it begins with http:// or https://".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("nothing follows the host, the port and the path".into());
    }
    Ok(())
}

/// The host of an endpoint that receives requests over a network without encryption. Anyone on the way can then read
/// the session token.
pub fn unencrypted_host(endpoint: &str) -> Option<String> {
    let url = Url::parse(endpoint).ok().filter(|url| url.scheme() == "http")?;
    let is_here = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    (!is_here).then(|| url.host_str().unwrap_or_default().to_owned())
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
    fn errors_say_what_is_wrong() {
        for (url, why) in [
            ("dynamodb:", "cannot be a table's name"),
            ("dynamodb://ab", "cannot be a table's name"),
            ("dynamodb://a table", "not a URL"),
            ("dynamodb://locks/more", "only ?region="),
            ("dynamodb://locks?regoin=x", "regoin= is unknown"),
            ("dynamodb://locks?endpoint=ftp://x", "begins with http"),
            ("dynamodb://locks?endpoint=http://x?y=z", "nothing follows"),
            ("dynamodb://locks#x", "only ?region="),
            ("dynamodb://locks?region=evil.example/", "a region's name"),
        ] {
            let said = Address::parse(url).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
        }
    }

    #[test]
    fn no_password_is_accepted_or_shown() {
        for url in [
            "dynamodb://user:sesame@locks",
            "dynamodb://:sesame@locks",
            "dynamodb://locks?endpoint=http://user:sesame@x",
            "dynamodb://locks?endpoint=http%3A%2F%2F%3Asesame%40x",
            "dynamodb://locks?endpoint=ftp://user:sesame@x",
        ] {
            let said = Address::parse(url).unwrap_err();
            assert!(said.contains("no password") && !said.contains("sesame"), "{url}: {said}");
        }
    }

    #[test]
    fn an_endpoint_on_this_machine_needs_no_encryption() {
        for here in
            ["http://localhost:8000", "http://127.0.0.2", "http://[::1]:80", "https://192.0.2.1", "http://a.localhost"]
        {
            assert_eq!(unencrypted_host(here), None, "{here}");
        }
        for there in
            ["http://192.0.2.1", "http://dynamodb.example:8000", "http://[2001:db8::1]", "http://localhost.example"]
        {
            assert!(unencrypted_host(there).is_some(), "{there}");
        }
    }
}
