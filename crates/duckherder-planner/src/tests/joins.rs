//! Which side of a join is divided, and how the other gets to the tasks.

use super::*;

/// The list after IN is part of the fragment, unless it is long.
#[test]
fn a_list_that_the_optimizer_has_made_goes_with_the_fragment() {
    let text = |rows: u64| format!("({} [t 500000] (CHUNK_GET \"estimated_rows\":{rows}))", join("MARK"));
    assert_eq!(cuts(&always(&text(10))), [(Cut::Subtree, 0, Exchange::Gather)]);
    assert_eq!(cuts(&always(&text(1_000_000))), [(Cut::Subtree, 1, Exchange::Gather)]);
}

#[test]
fn a_small_side_is_whole_in_every_task() {
    let scans = |kind: &str, sides: &str| -> Vec<_> {
        let split = always(&format!("({} {sides})", join(kind)));
        assert_eq!(cuts(&split), [(Cut::Subtree, 0, Exchange::Gather)], "{kind}");
        split.stages[0].scans.iter().map(|scan| (scan.scan, scan.whole)).collect()
    };
    for kind in ["INNER", "LEFT", "SEMI", "ANTI", "MARK", "SINGLE"] {
        assert_eq!(scans(kind, "[large 1000000] [small 1000]"), [(0, false), (1, true)], "{kind}");
    }
    for kind in ["INNER", "RIGHT", "RIGHT_SEMI", "RIGHT_ANTI"] {
        assert_eq!(scans(kind, "[small 1000] [large 1000000]"), [(1, false), (0, true)], "{kind}");
    }
}

#[test]
fn two_large_sides_are_shuffled() {
    for kind in ["INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI", "SINGLE"] {
        let text = format!("({} (FILTER \"estimated_rows\":9000000 [x 9000000]) [y 9000000])", join(kind));
        let split = elsewhere(&text);
        let both = [(Cut::Subtree, 1, hash(0, 0)), (Cut::Subtree, 3, hash(0, 1)), (Cut::Subtree, 0, Exchange::Gather)];
        assert_eq!(cuts(&split), both, "{kind}");
        assert_eq!(split.stages[2].inputs, [0, 1]);
        assert_eq!((split.stages[2].mode, split.stages[2].tasks), (Mode::HashPartition, 4));
    }
}

/// `x NOT IN (SELECT ...)` is NULL in every task if there is a NULL in one.
#[test]
fn the_right_side_of_in_is_never_shuffled() {
    let split = always(&format!("({} [x 9000000] [y 9000000])", join("MARK")));
    assert_eq!(cuts(&split), [(Cut::Subtree, 0, Exchange::Gather)]);
}

/// Ties, and what else depends on the order of rows, must not differ between tasks.
#[test]
fn a_side_that_picks_rows_is_not_made_several_times() {
    let first = sum(0).replace(r#""exportable":true"#, r#""exportable":true,"order_dependent":true"#);
    for small in [r#"TOP_N "limit":{"rows":5,"offset":0}"#, "WINDOW", "DISTINCT", &first] {
        let split = always(&format!("({} [large 9000000] ({small} [small 200000]))", join("INNER")));
        assert!(split.stages.iter().flat_map(|stage| &stage.scans).all(|scan| !scan.whole), "{small}");
    }
    let nearest = r#"ASOF_JOIN "join":{"type":"INNER","asof":true}"#;
    let split = always(&format!("({} [large 9000000] ({nearest} [x 200000] [y 200000]))", join("INNER")));
    assert!(split.stages.iter().flat_map(|stage| &stage.scans).all(|scan| scan.scan != 1 || !scan.whole));
}

/// A row without a partner must come out once, not once a task.
#[test]
fn a_side_whose_rows_are_kept_is_not_whole() {
    for (kind, text) in [("FULL", "[large 1000000] [small 1000]"), ("RIGHT", "[large 9000000] [small 1000]")] {
        let split = always(&format!("({} {text})", join(kind)));
        assert!(split.stages.iter().flat_map(|stage| &stage.scans).all(|scan| scan.scan == 0 || !scan.whole), "{kind}");
    }
    let no_keys = r#"(ANY_JOIN "join":{"type":"FULL"} [x 1000000] [y 1000])"#;
    let both = [(Cut::Subtree, 1, Exchange::Gather), (Cut::Subtree, 2, Exchange::Gather)];
    assert_eq!(cuts(&always(no_keys)), both);
}

/// Its rows go to every task once, where each task would have to fetch the whole table otherwise.
#[test]
fn a_side_of_few_rows_out_of_many_is_broadcast() {
    let text = |kind: &str| {
        format!(
            r#"(COMPARISON_JOIN "join":{{"type":"{kind}","asof":false}},"keys":[[{{"column":"l"}}],[{{"column":"r"}}]] [large 5000000] (FILTER "estimated_rows":1000 [customer 100000]))"#
        )
    };
    let always = |kind: &str| plan(&text(kind), r#""distribution":"always","#);
    let elsewhere = Workers { local: 0, remote: 4 };
    for kind in ["INNER", "LEFT", "SEMI", "ANTI", "MARK"] {
        let Decision::Distributed(found) = decide(&always(kind), elsewhere) else { panic!("{kind}") };
        assert_eq!(found.stages[0].exchange, Exchange::Broadcast, "{kind}: {found:?}");
        assert_eq!(found.stages[1].inputs, [0], "{kind}");
        assert!(found.stages.iter().flat_map(|stage| &stage.scans).all(|scan| !scan.whole), "{kind}: {found:?}");
    }
    // Every row of the right side is to appear once.
    for kind in ["RIGHT", "FULL"] {
        let Decision::Distributed(found) = decide(&always(kind), elsewhere) else { panic!("{kind}") };
        assert_eq!(found.stages[0].exchange, Exchange::Hash { consumer: 0, side: 0 }, "{kind}: {found:?}");
    }
    // What is read in this process costs less to read again than to send.
    let here = decided(&always("INNER"));
    assert!(here.stages[0].scans.iter().any(|scan| scan.whole), "{here:?}");
}

/// A scalar subquery of a small table, say: its one task makes all that it gives.
#[test]
fn what_one_task_has_all_rows_of_is_broadcast_whatever_it_does() {
    let first = sum(0).replace(r#""exportable":true"#, r#""exportable":true,"order_dependent":true"#);
    let small = format!(r#"(DISTINCT "estimated_rows":30 ({first} [dates 1000]))"#);
    let split = elsewhere(&format!("({} [large 9000000] {small})", join("INNER")));
    let sent = (Cut::Subtree, 2, Exchange::Broadcast);
    assert_eq!(cuts(&split), [sent, (Cut::Subtree, 0, Exchange::Gather)], "{split:?}");
}

#[test]
fn an_asof_join_divides_its_left_side_only() {
    let text = r#"(ASOF_JOIN "join":{"type":"INNER","asof":true} [small 1000] [large 1000000])"#;
    let scans = &always(text).stages[0].scans;
    assert!(scans.iter().any(|scan| scan.scan == 1 && scan.whole));
}

/// What each task would join again for itself, a stage joins once.
#[test]
fn a_join_of_few_rows_out_of_many_is_broadcast() {
    let inner = format!("({},\"estimated_rows\":1000 [x 2000000] [y 1500000])", join("INNER"));
    let split = elsewhere(&format!("({},\"estimated_rows\":1000 [large 9000000] {inner})", join("INNER")));
    let sent = split.stages.iter().position(|stage| stage.exchange == Exchange::Broadcast);
    assert_eq!(sent.map(|stage| split.stages[stage].node), Some(2), "{split:?}");
    let last = split.stages.last().unwrap();
    assert_eq!((last.inputs.as_slice(), last.scans.len()), (&[sent.unwrap()][..], 1), "{split:?}");
}

/// Making the groups of a large table once in each task costs more than a join on the driver.
#[test]
fn a_side_of_many_rows_is_not_read_by_each_task_so_that_a_small_one_is_divided() {
    let groups = format!("({} [orders 9000000])", many_groups(&[A], "g").replace("5000000", "100000"));
    let split = always(&format!("({} [customer 150000] {groups})", join_by("LEFT", &[B], &[("g", true)])));
    assert!(split.stages.iter().flat_map(|stage| &stage.scans).all(|scan| !scan.whole), "{split:?}");
}
