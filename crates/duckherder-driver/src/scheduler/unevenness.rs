//! How unevenly the work of a stage was divided among its tasks.

use std::time::Duration;

use super::report::TaskReport;

/// What the task that had most had, over the median of all tasks: of the rows that they gave, of CPU time and of wall
/// time. Nothing for a single task.
pub fn skew(tasks: &[TaskReport]) -> Option<String> {
    if tasks.len() < 2 {
        return None;
    }
    let rows = ratio(tasks.iter().map(|task| task.rows as f64).collect());
    let seconds = |times: Vec<Duration>| ratio(times.iter().map(Duration::as_secs_f64).collect());
    let wall = seconds(tasks.iter().map(|task| task.elapsed).collect());
    let cpu = tasks.iter().map(|task| task.cpu).collect::<Option<Vec<_>>>();
    let cpu = cpu.map_or_else(String::new, |times| format!(", CPU {}", seconds(times)));
    Some(format!("rows {rows}{cpu}, wall {wall} (the most of a task / the median of {})", tasks.len()))
}

fn ratio(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    match values.last() {
        Some(&most) if median > 0.0 => format!("{:.2}", most / median),
        Some(&most) if most > 0.0 => "infinite".to_string(),
        _ => "1.00".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_compared_with_the_median() {
        for (values, expected) in [
            (vec![10.0, 10.0], "1.00"),
            (vec![10.0, 30.0], "1.50"),
            (vec![400.0, 100.0, 50.0], "4.00"),
            (vec![100.0, 50.0, 150.0, 400.0], "3.20"),
            (vec![0.0, 0.0, 7.0], "infinite"),
            (vec![0.0, 0.0], "1.00"),
        ] {
            assert_eq!(ratio(values.clone()), expected, "{values:?}");
        }
    }
}
