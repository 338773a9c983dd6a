//! COPY TO a directory, and what else puts rows somewhere: who writes them.

use super::*;

fn copy(write: &str, rows: &str) -> String {
    format!(r#"(COPY_TO_FILE "write":{{"directory":"/d",{write}}} {rows})"#)
}

const BY_TASKS: &str = r#""kept":"""#;

/// Of each stage: the COPY TO whose files its tasks write.
fn writes(distribution: &Distribution) -> Vec<Option<u64>> {
    distribution.stages.iter().map(|stage| stage.writes).collect()
}

#[test]
fn tasks_write_the_rows_that_they_have() {
    let files = distributed(&copy(BY_TASKS, "(PROJECTION [t 900000])"));
    assert_eq!(cuts(&files), [(Cut::Subtree, 1, Exchange::Gather)]);
    assert_eq!(writes(&files), [Some(0)]);
    let joined = elsewhere(&copy(BY_TASKS, &format!("({} [t 9000000] [u 9000000])", join("INNER"))));
    assert_eq!(writes(&joined), [None, None, Some(0)]);
    assert!(joined.stages.iter().all(|stage| !stage.order_shows));
}

#[test]
fn what_is_merged_on_the_driver_the_driver_writes() {
    let sorted = always(&copy(BY_TASKS, "(ORDER_BY [t 900000])"));
    assert_eq!(writes(&sorted), [None]);
    let grouped = always(&copy(BY_TASKS, &format!("({} [t 900000])", sum(1))));
    assert_eq!(writes(&grouped), [None]);
}

#[test]
fn a_directory_that_workers_can_not_write_to_is_the_drivers() {
    let kept = always(&copy(r#""kept":"worker 'w' is elsewhere""#, "[t 900000]"));
    assert_eq!(writes(&kept), [None]);
    assert_eq!(kept.notes, ["the driver writes the files: worker 'w' is elsewhere"]);
    // One file is nobody's to share.
    assert_eq!(writes(&always("(COPY_TO_FILE [t 900000])")), [None]);
}

#[test]
fn what_the_driver_writes_is_the_workers_where_that_takes_less() {
    let auto = |text: &str, workers| decide(&plan(text, ""), workers);
    let remote = Workers { local: 0, remote: 4 };
    let heavy = |top: &str| {
        format!(r#"({top} (PROJECTION "estimated_rows":9000000,"text_operations":40,"operations":40 [t 9000000]))"#)
    };
    for top in ["INSERT", "CREATE_TABLE", "COPY_TO_FILE"] {
        assert!(matches!(auto(&heavy(top), FOUR), Decision::Local { .. }), "{top}");
        assert!(matches!(auto(&heavy(top), remote), Decision::Distributed(_)), "{top}");
        // Rows that would only come back.
        assert!(matches!(auto(&format!("({top} [t 9000000])"), remote), Decision::Local { .. }), "{top}");
    }
}
