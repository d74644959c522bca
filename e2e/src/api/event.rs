//! What an API server demands of a new Event (`pkg/apis/core/validation/events.go`).

use serde_json::Value;

use super::store::Refusal;

const LONGEST_NOTE: usize = 1024;
const LONGEST_WORD: usize = 128;

/// Refuses an Event of `events.k8s.io/v1` as a real server would.
pub(super) fn check(event: &Value) -> Result<(), Refusal> {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let invalid = |field: &str, what: &str| Err(Refusal::new(422, "Invalid", format!("{field}: {what}")));
    for field in ["reportingController", "reportingInstance", "action", "reason", "eventTime", "type"] {
        match text(field).len() {
            0 => return invalid(field, "Required value"),
            1..=LONGEST_WORD => {}
            _ => return invalid(field, "can have at most 128 characters"),
        }
    }
    if !["Normal", "Warning"].contains(&text("type")) {
        return invalid("type", "has invalid value");
    }
    if text("note").len() > LONGEST_NOTE {
        return invalid("note", "can have at most 1024 characters");
    }
    let regarding = event["regarding"]["namespace"].as_str().unwrap_or("default");
    if event["metadata"]["namespace"] != regarding {
        return invalid("involvedObject.namespace", "does not match event.namespace");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_too_long_is_refused() {
        let good = json!({"metadata": {"namespace": "shop"}, "regarding": {"namespace": "shop"},
            "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r",
            "eventTime": "2026-01-02T03:04:05.000000Z", "type": "Warning", "note": "n"});
        assert_eq!(check(&good), Ok(()));
        let bad = [
            ("reason", json!("")),
            ("action", json!(null)),
            ("reportingInstance", json!("i".repeat(129))),
            ("type", json!("Error")),
            ("note", json!("n".repeat(1025))),
            ("regarding", json!({"name": "a-node"})),
        ];
        for (field, value) in bad {
            let mut event = good.clone();
            event[field] = value;
            assert_eq!(check(&event).unwrap_err().code, 422, "{field}");
        }
    }
}
