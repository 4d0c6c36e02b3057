//! `docs/openapi.yaml` and `docs/schema/` describe what is there, and nothing else.

use std::collections::BTreeSet;

use axum::body::Body;
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

use super::{ask, first, get_json, made_up, request};
use crate::routes::{Open, open_routes, own_routes};

const OPENAPI: &str = include_str!("../../../../docs/openapi.yaml");
const VERDICT: &str = include_str!("../../../../docs/schema/verdict-1.schema.json");
const INCIDENT: &str = include_str!("../../../../docs/schema/incident-1.schema.json");
const BASE: &str = "https://example.com/unswept";

fn openapi() -> Value {
    serde_saphyr::from_str(OPENAPI).expect("docs/openapi.yaml is YAML")
}

/// A validator of `{"$ref": reference}`, seen from docs/.
fn validator(reference: &str) -> Validator {
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("a schema is JSON");
    let documents = [
        ("openapi.yaml", openapi()),
        ("schema/verdict-1.schema.json", json(VERDICT)),
        ("schema/incident-1.schema.json", json(INCIDENT)),
    ];
    let mut registry = Registry::new();
    for (name, document) in documents {
        registry = registry
            .add(format!("{BASE}/{name}"), document)
            .expect("an address");
    }
    let registry = registry.prepare().expect("references that resolve");
    let reference = match reference.strip_prefix('#') {
        Some(fragment) => format!("{BASE}/openapi.yaml#{fragment}"),
        None => format!("{BASE}/{reference}"),
    };
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_registry(&registry)
        .build(&json!({ "$ref": reference }))
        .expect("a schema")
}

fn complaints(reference: &str, value: &Value) -> Vec<String> {
    let validator = validator(reference);
    let errors = validator.iter_errors(value);
    errors
        .take(5)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let own = own_routes()
        .into_iter()
        .map(|(method, path, _)| (method.to_lowercase(), path.to_owned()));
    let open = open_routes::<Open>().into_iter();
    let open = open.map(|(method, path, _)| (method.to_lowercase(), path.to_owned()));
    let there: BTreeSet<_> = own.chain(open).collect();
    let described = openapi();
    let paths = described["paths"].as_object().expect("paths");
    let described: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("a path item").keys();
            methods
                .filter(|key| *key != "parameters")
                .map(move |key| (key.clone(), path.clone()))
        })
        .collect();
    assert_eq!(there, described);
}

/// Every GET with a JSON answer, filled in, has the described shape.
#[tokio::test]
async fn answers_have_the_described_shape() {
    let (target, incident) = first();
    let described = openapi();
    let paths = described["paths"].as_object().expect("paths");
    let mut compared = 0;
    for (path, item) in paths {
        let schema =
            &item["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let Some(reference) = schema.as_str() else {
            continue;
        };
        let id = if path.contains("/incidents/") {
            &incident
        } else {
            &target
        };
        let mut asked = path.replace("{id}", id).replace("{target}", &target);
        if path.contains("/query") {
            asked.push_str("?query=up&start=0&end=60&step=15");
        }
        let (status, answer) = get_json(&asked).await;
        assert_eq!(status, 200, "{asked}: {answer}");
        assert_eq!(complaints(reference, &answer), [""; 0], "{asked}");
        compared += 1;
    }
    assert_eq!(compared, 10, "JSON answers that are described");
}

#[tokio::test]
async fn errors_and_outcomes_have_the_described_shape() {
    let post = |path: &str, body: &'static str| {
        let request = request("POST", path).header("x-unswept", "1");
        request.body(Body::from(body)).expect("a request")
    };
    for (name, asked, status, reference) in [
        (
            "no such target",
            request("GET", "/api/v1/unswept/targets/x")
                .body(Body::empty())
                .unwrap(),
            404,
            "Error",
        ),
        (
            "nothing there",
            request("GET", "/api/v1/nothing")
                .body(Body::empty())
                .unwrap(),
            404,
            "Error",
        ),
        (
            "no query",
            request("GET", "/api/v1/query").body(Body::empty()).unwrap(),
            400,
            "Error",
        ),
        (
            "not a command",
            post("/api/v1/unswept/commands", "{\"command\":\"format-disk\"}"),
            400,
            "Error",
        ),
        ("reload", post("/-/reload", ""), 202, "Outcome"),
        (
            "reload by command",
            post("/api/v1/unswept/commands", "{\"command\":\"reload\"}"),
            202,
            "Outcome",
        ),
        (
            "refused",
            post(
                "/api/v1/unswept/commands",
                "{\"command\":\"snapshot\",\"target\":\"x\"}",
            ),
            409,
            "Outcome",
        ),
    ] {
        let (got, _, text) = ask(asked).await;
        assert_eq!(got, status, "{name}: {text}");
        let answer = serde_json::from_str(&text).unwrap();
        let reference = format!("#/components/schemas/{reference}");
        assert_eq!(complaints(&reference, &answer), [""; 0], "{name}");
    }
}

#[test]
fn verdicts_and_incidents_are_as_their_schemas_say() {
    let view = made_up::view(5);
    let verdicts = view
        .targets
        .iter()
        .filter_map(|target| target.verdict.as_ref());
    for verdict in verdicts {
        let json = serde_json::to_value(verdict).unwrap();
        assert_eq!(
            complaints("schema/verdict-1.schema.json", &json),
            [""; 0],
            "{}",
            verdict.target.name
        );
    }
    for incident in &view.incidents {
        let json = serde_json::to_value(&**incident).unwrap();
        assert_eq!(
            complaints("schema/incident-1.schema.json", &json),
            [""; 0],
            "{}",
            incident.id
        );
    }
    let mut wrong = serde_json::to_value(view.targets[0].verdict.as_ref()).unwrap();
    wrong["findings"] = json!([]);
    assert_ne!(complaints("schema/verdict-1.schema.json", &wrong), [""; 0]);
}

#[test]
fn the_schema_has_every_kind() {
    let schema: Value = serde_json::from_str(VERDICT).unwrap();
    let kinds: Vec<_> = model::Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(schema["$defs"]["kind"]["enum"], json!(kinds));
}
