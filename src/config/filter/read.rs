//! Rules and their conditions: one function for each kind.

use super::actions::action;
use super::sense::senseless;
use super::sheet::Sheet;
use super::single::{Use, column, extension_key, may_hold_address, network, number, text};
use super::{Action, Condition, Field, Filter, How, Test};
use crate::columns::Kind;
use crate::config::document::Reader;
use crate::config::nearest::nearest;
use crate::config::value::{self, Checked, Wrong, kind_of};
use crate::limits::{
    FILTER_CONDITIONS_MOST, FILTER_DEPTH_MOST, FILTER_LIST_MOST, FILTER_NAME_BYTES_MOST,
    FILTER_SETS_BYTES_MAX, FILTERS_MOST,
};
use toml::Spanned;
use toml::de::DeValue;

/// The rules in their order; what is wrong with them goes to the reader. `destinations` are the names
/// of the further ones, if those are known.
pub(in crate::config) fn filters<'t>(
    reader: &mut Reader<'t>,
    written: Option<&Spanned<DeValue<'t>>>,
    destinations: Option<&[&str]>,
) -> Vec<Filter> {
    let mut filters: Vec<Filter> = Vec::new();
    let Some(written) = written else {
        return filters;
    };
    const ALLOWED: &str = "write [[filter]] and its keys below, once for each rule";
    let list = match written.get_ref() {
        DeValue::Array(list) if list.len() <= FILTERS_MOST => list,
        other => {
            let what = match other {
                DeValue::Array(list) => format!("{} rules, more than {FILTERS_MOST}", list.len()),
                DeValue::Table(_) => "one section, not a list of rules".into(),
                other => format!("{}, not a list of rules", kind_of(other)),
            };
            reader.wrong_at("filter", written.span(), Wrong::new(what, ALLOWED).bare());
            return filters;
        }
    };
    for element in list {
        let DeValue::Table(table) = element.get_ref() else {
            let what = format!("{}, not a rule", kind_of(element.get_ref()));
            reader.wrong_at("filter", element.span(), Wrong::new(what, ALLOWED));
            continue;
        };
        let findings_before = reader.findings.len();
        let sheet = Sheet::of(reader, table, "filter".into(), element.span());
        if let Some(filter) = filter(sheet, &filters, destinations)
            && reader.findings.len() == findings_before
        {
            if let Some(wrong) = senseless(&filter, &filters) {
                let name = format!("filter.{}", filter.name);
                reader.wrong_at(&name, element.span(), wrong.bare());
            }
            filters.push(filter);
        }
    }
    let sets = filters.iter().map(|filter| match &filter.action {
        // escaped at its longest, with quotes, colon and comma
        Action::Set(column, value) => column.len() + 6 * value.len() + 6,
        _ => 0,
    });
    if sets.sum::<usize>() > FILTER_SETS_BYTES_MAX {
        let what = "the constants of all \"set\" together are too long for a row";
        let allowed = format!("up to {FILTER_SETS_BYTES_MAX} bytes of JSON");
        reader.wrong_at("filter", written.span(), Wrong::new(what, allowed).bare());
    }
    filters
}

/// One rule. Nothing if it has no name or no action.
fn filter(
    mut sheet: Sheet<'_, '_, '_>,
    earlier: &[Filter],
    destinations: Option<&[&str]>,
) -> Option<Filter> {
    let name = sheet.required("name", "\"my-rule\"", |written| {
        let name = rule_name(written)?;
        if earlier.iter().any(|other| other.name == name) {
            return Err(Wrong::new("a second rule of this name", "each name once"));
        }
        Ok(name)
    });
    if let Some(name) = &name {
        sheet.name = format!("filter.{name}");
    }
    let mut conditions_count = 0;
    let when = match sheet.find("when") {
        None => Some(Vec::new()),
        Some(written) => conditions(&mut sheet, "when", written, 1, &mut conditions_count),
    };
    if conditions_count > FILTER_CONDITIONS_MOST {
        let what = format!("{conditions_count} conditions");
        let allowed = format!("up to {FILTER_CONDITIONS_MOST} in one rule");
        let place = sheet.place.clone();
        sheet.wrong_at("when", place, Wrong::new(what, allowed).bare());
    }
    let action = action(&mut sheet, destinations);
    sheet.close();
    Some(Filter {
        name: name?,
        when: when?,
        action: action?,
    })
}

fn rule_name(written: &DeValue<'_>) -> Checked<String> {
    let allowed =
        format!("1 to {FILTER_NAME_BYTES_MOST} small letters, digits, _ and -, a letter first");
    let name = value::text(written, &allowed)?;
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    let is_good = name.len() <= FILTER_NAME_BYTES_MOST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(plain);
    match is_good {
        true => Ok(name.to_owned()),
        false => Err(Wrong::new("not a rule's name", allowed)),
    }
}

/// A list of conditions, or a single one without brackets.
fn conditions<'d, 't>(
    sheet: &mut Sheet<'_, 'd, 't>,
    key: &'static str,
    written: &'d Spanned<DeValue<'t>>,
    depth: usize,
    count: &mut usize,
) -> Option<Vec<Condition>> {
    const ALLOWED: &str = "conditions like { column = \"DeviceVendor\", equals = \"Acme\" }";
    if depth > FILTER_DEPTH_MOST {
        let what = format!("more than {FILTER_DEPTH_MOST} conditions inside each other");
        sheet.wrong_at(key, written.span(), Wrong::new(what, "fewer").bare());
        return None;
    }
    let single = std::slice::from_ref(written);
    let elements: &[Spanned<DeValue<'t>>] = match written.get_ref() {
        DeValue::Array(list) if list.is_empty() => {
            let wrong = Wrong::new("an empty list of conditions", ALLOWED);
            sheet.wrong_at(key, written.span(), wrong);
            return None;
        }
        DeValue::Array(list) => list,
        _ => single,
    };
    let mut all = Vec::new();
    for element in elements {
        *count += 1;
        let DeValue::Table(table) = element.get_ref() else {
            let what = format!("{}, not a condition", kind_of(element.get_ref()));
            sheet.wrong_at(key, element.span(), Wrong::new(what, ALLOWED));
            continue;
        };
        let name = format!("{}.{key}", sheet.name);
        let inner = Sheet::of(sheet.reader, table, name, element.span());
        all.extend(condition(inner, depth, count));
    }
    (all.len() == elements.len()).then_some(all)
}

fn condition(mut sheet: Sheet<'_, '_, '_>, depth: usize, count: &mut usize) -> Option<Condition> {
    const KINDS: [&str; 6] = ["column", "key", "peer", "all", "any", "not"];
    let written: Vec<&str> = KINDS
        .into_iter()
        .filter(|kind| sheet.table.contains_key(*kind))
        .collect();
    let condition = match written[..] {
        ["column"] => sheet
            .optional("column", |written| column(written, Use::Match))
            .and_then(|column| test(&mut sheet, Field::Column(column))),
        ["key"] => sheet
            .optional("key", extension_key)
            .and_then(|key| test(&mut sheet, Field::Key(key))),
        ["peer"] => sheet
            .list("peer", FILTER_LIST_MOST, network)
            .map(Condition::Peer),
        ["all"] => nested(&mut sheet, "all", depth, count).map(Condition::All),
        ["any"] => nested(&mut sheet, "any", depth, count).map(Condition::Any),
        ["not"] => nested(&mut sheet, "not", depth, count).map(|mut inner| {
            let inner = match inner.len() {
                1 => inner.remove(0),
                _ => Condition::All(inner),
            };
            Condition::Not(Box::new(inner))
        }),
        _ => {
            sheet.known.extend(KINDS);
            let what = match written[..] {
                [] => "a condition on nothing".to_owned(),
                _ => format!("{} in one condition", written.join(" and ")),
            };
            let allowed = "exactly one of column, key, peer, all, any, not";
            let place = sheet.place.clone();
            sheet.wrong_at("", place, Wrong::new(what, allowed));
            // what else is in it depends on that
            return None;
        }
    };
    if condition.is_some() {
        sheet.close();
    }
    condition
}

fn nested(
    sheet: &mut Sheet<'_, '_, '_>,
    key: &'static str,
    depth: usize,
    count: &mut usize,
) -> Option<Vec<Condition>> {
    let written = sheet.find(key)?;
    conditions(sheet, key, written, depth + 1, count)
}

/// The operator of a condition on a value.
fn test(sheet: &mut Sheet<'_, '_, '_>, field: Field) -> Option<Condition> {
    const OPERATORS: [&str; 9] = [
        "equals", "in", "prefix", "suffix", "contains", "cidr", "at_least", "at_most", "exists",
    ];
    let kind = match &field {
        Field::Column(column) => column.kind,
        Field::Key(_) => Kind::Text,
    };
    let written: Vec<&str> = OPERATORS
        .into_iter()
        .filter(|operator| sheet.table.contains_key(*operator))
        .collect();
    let is_number = matches!(kind, Kind::Int | Kind::Long | Kind::Real);
    let wrong_for = match (&written[..], kind) {
        (["prefix" | "suffix" | "contains"], _) if is_number => {
            Some("a number; use equals, in, at_least, at_most or exists")
        }
        (["exists"], _) => None,
        (_, Kind::DateTime) if !written.is_empty() => Some("a time; use exists"),
        (["cidr"], _) if !may_hold_address(&field) => {
            Some("no address; cidr is for columns of addresses, keys and peer")
        }
        _ => None,
    };
    if let Some(why) = wrong_for {
        let operator = written.first().copied().unwrap_or_default();
        let what = format!("can never match: {} holds {why}", field.name());
        let place = sheet.table.get(operator).map(Spanned::span);
        let place = place.unwrap_or(sheet.place.clone());
        sheet.wrong_at(operator, place, Wrong::new(what, ""));
        return None;
    }
    let test = match written[..] {
        ["equals"] if is_number => sheet
            .optional("equals", |written| number(written, kind))
            .map(|number| Test::Numbers(vec![number])),
        ["in"] if is_number => sheet
            .list("in", FILTER_LIST_MOST, |written| number(written, kind))
            .map(Test::Numbers),
        ["equals"] => sheet
            .optional("equals", text)
            .and_then(|text| text_test(sheet, How::Equals, vec![text])),
        ["in"] => texts(sheet, "in", How::Equals),
        ["prefix"] => texts(sheet, "prefix", How::Prefix),
        ["suffix"] => texts(sheet, "suffix", How::Suffix),
        ["contains"] => texts(sheet, "contains", How::Contains),
        ["cidr"] => sheet
            .list("cidr", FILTER_LIST_MOST, network)
            .map(Test::Networks),
        ["exists"] => sheet.optional("exists", value::boolean).map(Test::Exists),
        ["at_least"] | ["at_most"] | ["at_least", "at_most"] => {
            let least = sheet.optional("at_least", |written| number(written, Kind::Real));
            let most = sheet.optional("at_most", |written| number(written, Kind::Real));
            if let (Some(least), Some(most)) = (least, most)
                && least > most
            {
                let what = "can never match: at_least is above at_most";
                let place = sheet.place.clone();
                sheet.wrong_at("", place, Wrong::new(what, "at_least up to at_most"));
                return None;
            }
            (least.is_some() || most.is_some()).then_some(Test::Range(least, most))
        }
        _ => {
            let what = match written[..] {
                [] => unknown_operator(sheet, &OPERATORS),
                _ => format!("{} in one condition", written.join(" and ")),
            };
            let allowed = format!("one operator of {}", OPERATORS.join(", "));
            let place = sheet.place.clone();
            sheet.wrong_at("", place, Wrong::new(what, allowed));
            return None;
        }
    };
    test.map(|test| Condition::Value(field, test))
}

fn unknown_operator(sheet: &Sheet<'_, '_, '_>, operators: &[&'static str]) -> String {
    let names = sheet.table.iter().map(|(key, _)| key.get_ref().as_ref());
    let mut others = names.filter(|name| !["column", "key", "ignore_case"].contains(name));
    let Some(name) = others.next() else {
        return "no operator".to_owned();
    };
    let shown: String = name.escape_debug().take(FILTER_NAME_BYTES_MOST).collect();
    match nearest(name, operators.iter().copied()) {
        Some(meant) => format!("unknown operator {shown}; did you mean {meant}?"),
        None => format!("unknown operator {shown}"),
    }
}

fn texts(sheet: &mut Sheet<'_, '_, '_>, key: &'static str, how: How) -> Option<Test> {
    let texts = sheet.list(key, FILTER_LIST_MOST, text)?;
    text_test(sheet, how, texts)
}

fn text_test(sheet: &mut Sheet<'_, '_, '_>, how: How, texts: Vec<String>) -> Option<Test> {
    let ignore_case = sheet.optional("ignore_case", value::boolean);
    Some(Test::Text {
        how,
        texts,
        ignore_case: ignore_case.unwrap_or(false),
    })
}
