//! Files: how they are divided, and whether that is worth it.

use super::*;

/// A scan of files in the place of the plan's first scan.
fn of_files(mut plan: Plan, files: Files) -> Plan {
    for scan in plan.root.preorder_scans_mut().into_iter().take(1) {
        (scan.shared_table, scan.files) = (false, Some(files.clone()));
    }
    plan
}

fn some_files(count: usize, bytes: u64) -> Files {
    let paths = (0..count).map(|number| format!("f{number}")).collect();
    Files { paths, text: true, sampled_again: true, bytes: vec![bytes; count], ..Files::default() }
}

#[test]
fn files_are_divided_by_row_groups_or_whole() {
    let scan = || plan("[f 1000000]", r#""distribution":"always","#);
    let whole = decided(&of_files(scan(), some_files(10, 1 << 20)));
    assert_eq!((whole.stages[0].mode, whole.stages[0].tasks), (Mode::NaturalPartition, 4));
    let few = decided(&of_files(scan(), some_files(3, 1 << 20)));
    assert_eq!((few.stages[0].mode, few.stages[0].tasks), (Mode::NaturalPartition, 3));
    let parquet =
        Files { row_groups: vec![vec![500_000; 2]], text: false, sampled_again: false, ..some_files(1, 1 << 20) };
    let groups = decided(&of_files(scan(), parquet));
    assert_eq!((groups.stages[0].mode, groups.stages[0].tasks), (Mode::RowGroupPartition, 2));
}

#[test]
fn files_that_are_not_worth_it_stay_on_the_driver() {
    let scan = || plan("[f 1000000]", "");
    let elsewhere = Workers { local: 0, remote: 4 };
    let local = |plan: &Plan, workers| match decide(plan, workers) {
        Decision::Local { reason, .. } => reason,
        Decision::Distributed(distribution) => panic!("{distribution:?}"),
    };
    // One task would do what the driver does itself.
    assert!(local(&of_files(scan(), some_files(1, 1 << 30)), FOUR).contains("here: local "));
    assert!(local(&of_files(plan("[f 1000]", ""), some_files(10, 1000)), FOUR).contains("here: local "));
    // Each worker has to find out how they are written.
    assert!(local(&of_files(scan(), some_files(10, 1 << 20)), elsewhere).contains("here: local "));
    assert!(matches!(decide(&of_files(scan(), some_files(10, 1 << 28)), elsewhere), Decision::Distributed(_)));
    let mut kept = scan();
    for scan in kept.root.preorder_scans_mut() {
        (scan.shared_table, scan.kept) = (false, "it reads a file twice".to_string());
    }
    assert_eq!(local(&kept, FOUR), "it reads a file twice");
}

/// What the driver can tell of text, workers elsewhere need not find out: less of it is worth it.
#[test]
fn text_that_is_not_sampled_again_is_sooner_worth_it() {
    let smallest = |sampled_again| {
        let worth_it = |bytes: &u64| {
            let files = Files { sampled_again, ..some_files(10, *bytes) };
            let plan = of_files(plan("[f 1000000]", ""), files);
            matches!(decide(&plan, Workers { local: 0, remote: 4 }), Decision::Distributed(_))
        };
        (10..40).map(|power| 1 << power).find(worth_it).unwrap()
    };
    assert!(smallest(false) < smallest(true));
}

#[test]
fn files_beside_tables_are_read_by_every_task() {
    let join = plan(r#"(COMPARISON_JOIN "join":{"type":"INNER"} [f 1000] [b 1000000])"#, r#""distribution":"always","#);
    let distribution = decided(&of_files(join, some_files(2, 1000)));
    let whole: Vec<bool> = distribution.stages[0].scans.iter().map(|scan| scan.whole).collect();
    assert_eq!(whole.len(), 2, "{distribution:?}");
    assert!(whole.contains(&true) && whole.contains(&false), "{distribution:?}");
}

/// In the place of the plan's tables: Parquet files with a row group for so many rows each.
fn of_parquet(mut plan: Plan) -> Plan {
    for scan in plan.root.preorder_scans_mut() {
        let rows = vec![vec![100_000; scan.rows.div_ceil(100_000) as usize]];
        let files =
            Files { paths: vec![scan.name.clone()], row_groups: rows, bytes: vec![1 << 28], ..Files::default() };
        (scan.shared_table, scan.files) = (false, Some(files));
    }
    plan
}

/// To decode them again costs less than to move them, as long as few do.
#[test]
fn files_are_read_again_by_few_workers_and_shuffled_by_many() {
    let text = format!("({} [y 6000000] [x 1500000])", join("INNER"));
    let plan = of_parquet(plan(&text, r#""distribution":"always","#));
    let decided = |workers| match decide(&plan, Workers { local: 0, remote: workers }) {
        Decision::Distributed(found) => found,
        Decision::Local { reason, .. } => panic!("{reason}"),
    };
    let few = decided(3);
    assert_eq!(cuts(&few), [(Cut::Subtree, 0, Exchange::Gather)]);
    let whole: Vec<_> = few.stages[0].scans.iter().map(|scan| (scan.scan, scan.whole)).collect();
    assert_eq!(whole, [(0, false), (1, true)]);
    let both = [(Cut::Subtree, 1, hash(0, 0)), (Cut::Subtree, 2, hash(0, 1)), (Cut::Subtree, 0, Exchange::Gather)];
    assert_eq!(cuts(&decided(16)), both);
}

/// The tasks of a small table would keep the other workers waiting, each with all of the large one.
#[test]
fn a_side_that_few_tasks_share_is_not_divided() {
    let text = r#"(COMPARISON_JOIN "join":{"type":"RIGHT"},"estimated_rows":1500000,
        "keys":[[{"column":"l","null_meets_none":true}],[{"column":"r","null_meets_none":true}]] [orders 1500000] [customer 150000])"#;
    let plan = of_parquet(plan(text, r#""distribution":"always","#));
    let Decision::Distributed(found) = decide(&plan, Workers { local: 0, remote: 4 }) else { panic!("local") };
    assert_eq!((found.stages.last().unwrap().tasks, shuffles(&found)), (4, 2), "{found:?}");
}
