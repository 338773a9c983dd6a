//! How long somebody has been silent who is looked at again and again.

use std::time::{Duration, Instant};

/// Time in which somebody was silent. What passes without a look, since this process was stopped itself, does not count.
pub struct Silence {
    /// As of the last look.
    pub lasts: Duration,
    looked_at: Instant,
    longest: Duration,
}

impl Silence {
    /// Begins now; between two looks, no more than `longest` counts.
    pub fn new(longest: Duration) -> Self {
        Self { lasts: Duration::ZERO, looked_at: Instant::now(), longest }
    }

    /// As of now.
    pub fn so_far(&self) -> Duration {
        self.lasts + self.looked_at.elapsed().min(self.longest)
    }

    /// After a look at who is silent, or is not.
    pub fn goes_on(&mut self, silent: bool) -> Duration {
        self.lasts = if silent { self.so_far() } else { Duration::ZERO };
        self.looked_at = Instant::now();
        self.lasts
    }

    pub fn ends(&mut self) {
        self.lasts = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_without_a_look_does_not_count() {
        let longest = Duration::from_millis(10);
        let mut silence = Silence::new(longest);
        std::thread::sleep(longest * 5);
        assert_eq!(silence.so_far(), longest);
        assert_eq!(silence.goes_on(true), longest);
        std::thread::sleep(longest * 5);
        assert_eq!(silence.goes_on(true), longest * 2);
        assert_eq!(silence.goes_on(false), Duration::ZERO);
    }
}
