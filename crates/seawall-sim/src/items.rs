//! DynamoDB's items, and what its requests do to them.
//!
//! It interprets those of DynamoDB's expressions that `seawall_dynamodb::request` has, so that the text that Amazon
//! receives decides here as well. `tests/items.rs` compares every answer with that of Amazon's DynamoDB Local.

use seawall_dynamodb::item::{Item, Value, names, number, text};
use seawall_dynamodb::request::{Answer, Request, Values};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

/// A table's items, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items(pub BTreeMap<String, Item>);

impl Items {
    /// Carries a request out, in one step. Panics if DynamoDB would refuse it as invalid, because that is a mistake in
    /// the program.
    pub fn apply(&mut self, request: &Request) -> Answer {
        match request {
            Request::Get { key } => Answer::Done(self.0.get(key).cloned()),
            Request::Put { item, condition, values } => {
                let Some(Value::Text(key)) = item.get(names::PK) else { panic!("an item without its key: {item:?}") };
                self.change(key, condition, values, |items, _| {
                    items.insert(key.clone(), item.clone());
                    None
                })
            }
            Request::Update { key, change, values } => self.change(key, change.condition, values, |items, old| {
                // As in DynamoDB, an update makes an item that does not exist. Therefore every condition names an
                // attribute of a head.
                let mut item = old.unwrap_or_else(|| Item::from([(names::PK.to_owned(), text(key))]));
                Expression::new(change.effect, values).take_effect(&mut item);
                items.insert(key.clone(), item.clone());
                change.returns_item.then_some(item)
            }),
            Request::Delete { key, condition, values } => self.change(key, condition, values, |items, _| {
                items.remove(key);
                None
            }),
        }
    }

    /// Runs `effect` with the item of `key` if `condition` holds for it. `effect` returns the item for the answer.
    fn change(
        &mut self,
        key: &str,
        condition: &str,
        values: &Values,
        effect: impl FnOnce(&mut BTreeMap<String, Item>, Option<Item>) -> Option<Item>,
    ) -> Answer {
        let old = self.0.get(key).cloned();
        let holds = Expression::new(condition, values).holds(old.as_ref().unwrap_or(&Item::new()));
        if holds { Answer::Done(effect(&mut self.0, old)) } else { Answer::Refused(old) }
    }
}

/// A condition or an update, read from front to back. Both sides of AND and OR are read in any case.
struct Expression<'a> {
    text: &'a str,
    tokens: Peekable<IntoIter<&'a str>>,
    values: &'a Values,
}

impl<'a> Expression<'a> {
    fn new(text: &'a str, values: &'a Values) -> Expression<'a> {
        Expression { text, tokens: tokens(text).into_iter().peekable(), values }
    }

    fn holds(mut self, item: &Item) -> bool {
        let holds = self.any(item);
        self.tokens.next().map_or(holds, |token| self.is_unknown(token))
    }

    fn any(&mut self, item: &Item) -> bool {
        let mut holds = self.all(item);
        while self.takes("OR") {
            holds |= self.all(item);
        }
        holds
    }

    fn all(&mut self, item: &Item) -> bool {
        let mut holds = self.one(item);
        while self.takes("AND") {
            holds &= self.one(item);
        }
        holds
    }

    fn one(&mut self, item: &Item) -> bool {
        match self.next() {
            "(" => {
                let holds = self.any(item);
                self.demand(")");
                holds
            }
            function @ ("attribute_exists" | "attribute_not_exists" | "begins_with") => {
                self.demand("(");
                let attribute = item.get(self.name());
                let holds = match function {
                    "attribute_exists" => attribute.is_some(),
                    "attribute_not_exists" => attribute.is_none(),
                    _ => {
                        self.demand(",");
                        begins_with(attribute, self.value())
                    }
                };
                self.demand(")");
                holds
            }
            name => {
                let attribute = item.get(self.named(name));
                let wanted = match self.next() {
                    "=" => Ordering::Equal,
                    "<" => Ordering::Less,
                    other => self.is_unknown(other),
                };
                let value = match self.next() {
                    other if other.starts_with('#') => item.get(self.named(other)),
                    value => Some(self.valued(value)),
                };
                attribute.zip(value).and_then(|(attribute, value)| compared(attribute, value)) == Some(wanted)
            }
        }
    }

    fn take_effect(mut self, item: &mut Item) {
        while let Some(clause) = self.tokens.next() {
            loop {
                let name = self.name();
                match clause {
                    "SET" => {
                        self.demand("=");
                        item.insert(name.to_owned(), self.value().clone());
                    }
                    "REMOVE" => drop(item.remove(name)),
                    "ADD" => {
                        let more = self.value();
                        let before = item.get(name).map_or(0, |value| self.number(value));
                        item.insert(name.to_owned(), number(before + self.number(more)));
                    }
                    other => self.is_unknown(other),
                }
                if !self.takes(",") {
                    break;
                }
            }
        }
    }

    fn next(&mut self) -> &'a str {
        self.tokens.next().unwrap_or_else(|| self.is_unknown("its end"))
    }

    fn takes(&mut self, token: &str) -> bool {
        self.tokens.next_if(|next| *next == token).is_some()
    }

    fn demand(&mut self, token: &str) {
        let next = self.next();
        assert_eq!(next, token, "in {:?}", self.text);
    }

    fn name(&mut self) -> &'a str {
        let token = self.next();
        self.named(token)
    }

    /// The attribute that a token names.
    fn named(&self, token: &'a str) -> &'a str {
        let name = token.strip_prefix('#').filter(|name| names::ALL.contains(name));
        name.unwrap_or_else(|| self.is_unknown(token))
    }

    fn value(&mut self) -> &'a Value {
        let token = self.next();
        self.valued(token)
    }

    /// The value that a token names.
    fn valued(&self, token: &'a str) -> &'a Value {
        let value = token.strip_prefix(':').and_then(|name| self.values.get(name));
        value.unwrap_or_else(|| self.is_unknown(token))
    }

    fn number(&self, value: &Value) -> i128 {
        match value {
            Value::Number(digits) => numeric(digits),
            Value::Text(_) | Value::Binary(_) | Value::Other => panic!("{value:?} is no number, in {:?}", self.text),
        }
    }

    fn is_unknown(&self, token: &str) -> ! {
        panic!("{token:?} is not understood, in {:?}", self.text)
    }
}

/// Words with their sigils, and single signs.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '#' | ':');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    tokens
}

/// How two values compare. Values of different types do not.
fn compared(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => Some(numeric(a).cmp(&numeric(b))),
        _ => None,
    }
}

fn begins_with(attribute: Option<&Value>, prefix: &Value) -> bool {
    matches!((attribute, prefix), (Some(Value::Text(text)), Value::Text(prefix)) if text.starts_with(prefix.as_str()))
}

/// DynamoDB has 38 digits, and fractions too, which Seawall never writes.
fn numeric(digits: &str) -> i128 {
    digits.parse().unwrap_or_else(|_| panic!("{digits:?} is no whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str) -> bool {
        let item = Item::from([("gen".to_owned(), number(9)), ("lease".to_owned(), text("9"))]);
        let values = Values::from([("nine", number(9)), ("ten", number(10)), ("text", text("9"))]);
        Expression::new(condition, &values).holds(&item)
    }

    #[test]
    fn and_binds_closer_than_or() {
        assert!(holds("#gen = :nine OR #gen = :nine AND #gen = :ten"));
        assert!(!holds("(#gen = :nine OR #gen = :nine) AND #gen = :ten"));
    }

    #[test]
    fn numbers_are_no_texts_and_a_missing_attribute_equals_nothing() {
        assert!(holds("#gen < :ten AND #lease = :text AND begins_with(#lease, :text)"));
        for none in ["#lease < :ten", "#lease = :nine", "#gen = :text", "#sweep = :nine", "#sweep < :nine"] {
            assert!(!holds(none), "{none}");
        }
    }

    #[test]
    #[should_panic(expected = "\"BETWEEN\" is not understood, in \"#gen BETWEEN :nine\"")]
    fn an_unknown_expression_panics() {
        holds("#gen BETWEEN :nine");
    }
}
