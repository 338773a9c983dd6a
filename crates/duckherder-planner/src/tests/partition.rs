//! What is divided already is not shuffled again.

use super::*;

#[test]
fn an_aggregate_by_the_keys_of_its_join_needs_no_other_shuffle() {
    let group = [("b", false)];
    for (kind, expected) in [("INNER", 2), ("LEFT", 3), ("RIGHT", 3), ("FULL", 3)] {
        let text = format!("({} ({} [x 9000000] [y 9000000]))", many_groups(&group, "g"), join_by(kind, &[A], &[B]));
        let split = elsewhere(&text);
        assert_eq!(shuffles(&split), expected, "{kind}: {split:?}");
        // What meets in one task is not spread.
        let spread = split.stages.iter().filter(|stage| stage.join.is_some()).count();
        assert_eq!(spread, if expected == 2 { 0 } else { 2 }, "{kind}");
    }
    // Of two keys, one is enough; one that is none of the groups is not.
    for (keys, expected) in [([A, C], 2), ([A, ("d", true)], 3)] {
        let by = [("a", false), ("c", false)];
        let text =
            format!("({} ({} [x 9000000] [y 9000000]))", many_groups(&by, "g"), join_by("INNER", &keys, &[B, B]));
        assert_eq!(shuffles(&elsewhere(&text.replace(r#""column":"b""#, r#""text":"b + 1""#))), expected);
    }
}

#[test]
fn windows_and_distinct_rows_stay_where_their_keys_are() {
    let grouped = format!("({} [t 9000000])", many_groups(&[A], "g"));
    for above in [r#"WINDOW "keys":[[{"column":"g"},{"column":"h"}]]"#, r#"DISTINCT "keys":[[{"column":"g"}]]"#] {
        let split = elsewhere(&format!("({above} {grouped})"));
        let states = (Cut::PartialAggregate, 1, hash(1, 0));
        assert_eq!(cuts(&split), [states, (Cut::Subtree, 0, Exchange::Gather)], "{above}");
    }
    // A projection renames columns, or loses them.
    for (now, expected) in [("h", 1), ("other", 2)] {
        let renamed = format!(r#"(PROJECTION "renames":[{{"now":"{now}","was":"g"}}] {grouped})"#);
        assert_eq!(shuffles(&elsewhere(&format!(r#"(WINDOW "keys":[[{{"column":"h"}}]] {renamed})"#))), expected);
    }
}

#[test]
fn joins_by_the_same_keys_are_one_stage() {
    let inner = format!("({} [x 9000000] [y 9000000])", join_by("INNER", &[A], &[B]));
    for own in [A, B] {
        let other = ("other", true);
        let above = join_by("LEFT", &[("z", true), own], &[other, C]);
        let split = elsewhere(&format!("({above} {inner} [z 9000000])"));
        assert_eq!(shuffles(&split), 3, "{split:?}");
        // The third table is divided by what the first two are divided by.
        let third = split.stages.iter().find(|stage| stage.node == 4).unwrap();
        assert_eq!((third.exchange, third.hash_keys.as_slice()), (hash(0, 1), &[1][..]));
        assert_eq!(split.stages.last().unwrap().inputs, [0, 1, 2]);
    }
    // Groups of both sides are where their partners are.
    let sides = [many_groups(&[A], "g"), many_groups(&[B], "h")];
    let text = format!(
        "({} ({} [x 9000000]) ({} [y 9000000]))",
        join_by("FULL", &[("g", true)], &[("h", true)]),
        sides[0],
        sides[1]
    );
    let split = elsewhere(&text);
    assert_eq!(shuffles(&split), 2, "{split:?}");
    assert_eq!(split.stages.last().unwrap().inputs, [0, 1]);
}

/// `c` is NULL where a left row had no partner, whatever its key; after another join the key is no longer NULL.
#[test]
fn nulls_of_an_outer_join_are_not_taken_for_its_key() {
    let left = format!("({} [x 9000000] [y 9000000])", join_by("LEFT", &[A], &[C]));
    let inner = format!("({} {left} [z 9000000])", join_by("INNER", &[A], &[B]));
    for (group, expected) in [("a", 3), ("b", 3), ("c", 4)] {
        let split = elsewhere(&format!("({} {inner})", many_groups(&[(group, false)], "g")));
        assert_eq!(shuffles(&split), expected, "{group}: {split:?}");
    }
    // Where NULLs are equal, they must not be anywhere.
    let nulls = join_by("INNER", &[("a", false)], &[("b", false)]);
    assert_eq!(shuffles(&elsewhere(&format!("({nulls} {left} [z 9000000])"))), 4);
}

/// An integer of another type is equal, but not its hash.
#[test]
fn a_cast_key_serves_groups_but_not_joins() {
    let renamed = |cast: bool| {
        format!(
            r#"(PROJECTION "estimated_rows":9000000,"renames":[{{"now":"n","was":"g","cast":{cast}}}] ({} [t 9000000]))"#,
            many_groups(&[A], "g")
        )
    };
    let window = format!(r#"(WINDOW "keys":[[{{"column":"n"}}]] {})"#, renamed(true));
    assert_eq!(shuffles(&elsewhere(&window)), 1);
    for (cast, expected) in [(true, 3), (false, 2)] {
        let joined = format!("({} {} [y 9000000])", join_by("INNER", &[("n", true)], &[B]), renamed(cast));
        assert_eq!(shuffles(&elsewhere(&joined)), expected);
    }
}
