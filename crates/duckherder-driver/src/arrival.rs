//! A driver that is started for a place in object storage where another one may be, and is nobody's standby.
//!
//! ```text
//!   no sign of a driver, nor anything of one's      -->  the place is taken, if nobody is quicker
//!   a sign that the driver has left                 -->  the same
//!   its process, on this machine, is no more        -->  the place is taken
//!   its sign changes                                -->  refused: that driver is there
//!   its sign stays as it is for `--takeover-after`  -->  the place is taken, as by a standby
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use duckherder_storage::{Location, NOTICE_LIMIT, STANDBY_EVERY, Sign, Store, Watch};

use crate::error::{DriverError, Result};
use crate::home::{Home, StorageOptions};
use crate::silence::Silence;
use crate::store_lease::About;

/// How often a sign is looked at, each time with a request.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The place for the driver at `address`, unless another one is there. One that says nothing for `after` is not. Blocks.
///
/// # Errors
/// Another driver is there, or the storage refuses.
pub fn arrive(options: &StorageOptions, address: &str, after: Duration) -> Result<Home> {
    let location = || Location::parse(&options.url, options.timeout);
    let mut watch = Watch::new(location()?, options.timeout)?;
    let after = after.max(NOTICE_LIMIT);
    let mut silence = Silence::new(LOOK_EVERY * 3);
    let mut has_tried = false;
    let first = loop {
        if let Some(sign) = watch.look(None)? {
            break sign;
        }
        // Whoever was quicker shows itself once it has read what is there; one that has ended before that never does.
        silence.goes_on(true);
        if !std::mem::replace(&mut has_tried, true) || silence.lasts >= after {
            silence.ends();
            if let Some(store) = take(&mut watch, None, location()?, options, address)? {
                return Ok(store);
            }
        }
        std::thread::sleep(LOOK_EVERY);
    };
    silence.ends();
    let (mut sign, mut announced, mut told, mut tried) = (first.clone(), None::<Instant>, false, false);
    loop {
        if !goes_on(&first, &sign) {
            let About { address, process, .. } = about(&sign, options);
            return Err(DriverError::StorageInUse { url: options.url.clone(), address, process });
        }
        let About { address: driver, process, life, .. } = about(&sign, options);
        let has_ended = sign.left || life.is_some_and(|life| life.has_ended());
        // Somebody else may be quicker, whose sign comes later.
        if (has_ended && !tried) || silence.lasts >= after {
            if !sign.left {
                tracing::warn!(driver, process, "the driver before did not say that it ends: taking its place");
            }
            silence.ends();
            tried = true;
            if let Some(store) = take(&mut watch, Some(&sign), location()?, options, address)? {
                return Ok(store);
            }
        } else {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    driver,
                    process,
                    ?after,
                    "the driver before did not say that it ends: waiting whether it is still there"
                );
            }
            // It shows another sign once it knows that somebody looks.
            let since = announced.map(|announced| announced.elapsed());
            if since.is_none_or(|since| since >= STANDBY_EVERY) {
                watch.announce()?;
                announced = Some(Instant::now());
                if since.is_none_or(|since| since > STANDBY_EVERY * 2) {
                    // From now on. While this was on its way, which may take long, it was not bound to say anything.
                    silence = Silence::new(LOOK_EVERY * 3);
                }
            }
        }
        std::thread::sleep(LOOK_EVERY);
        let now = watch.look(None)?;
        sign = now.ok_or_else(|| DriverError::Storage(format!("{} is no driver's any more", options.url)))?;
        silence.goes_on(sign == first);
    }
}

/// Whether nobody is there as far as the sign shows which was seen first, or has come since.
fn goes_on(first: &Sign, now: &Sign) -> bool {
    now == first || (now.left && now.epoch == first.epoch)
}

/// What another version says of itself may be something else.
fn about(sign: &Sign, options: &StorageOptions) -> About {
    let unknown = || About { address: "an unknown address".to_string(), ..About::default() };
    About::of_text(&sign.about, &options.url).unwrap_or_else(|_| unknown())
}

fn take(
    watch: &mut Watch,
    sign: Option<&Sign>,
    location: Location,
    options: &StorageOptions,
    address: &str,
) -> Result<Option<Home>> {
    let store: Option<Store> = watch.take_over(sign, location, options.of_driver(address))?;
    Ok(store.map(|store| Home::Store(Arc::new(store))))
}
