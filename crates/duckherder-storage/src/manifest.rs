//! Manifests: all files as they are after a log object, so that what is before it is not needed any more.

use std::sync::Arc;

use bytes::Bytes;
use object_store::PutPayload;

use crate::error::Result;
use crate::extents::{Piece, Place};
use crate::format::{MANIFEST_MAGIC, encode};
use crate::log::numbered;
use crate::packs::grouped;
use crate::shared::Core;
use crate::state::{Pack, State};

pub const MANIFESTS: &str = "manifests";

/// Writes a manifest of `state`, which is that after log object `number`, which is durable. Bytes that were in the log
/// lie in packs afterwards. Returns the number.
///
/// # Errors
/// The storage fails.
pub async fn write(core: Arc<Core>, mut state: State, number: u64, writer_name: String) -> Result<u64> {
    let mut moved = Vec::new();
    for group in grouped(inline(&state)) {
        let pack = core.lock().next_pack(core.epoch);
        let parts: Vec<Bytes> = group
            .iter()
            .filter_map(|(_, piece)| match &piece.place {
                Place::Inline(bytes) => Some(bytes.clone()),
                _ => None,
            })
            .collect();
        let payload: PutPayload = parts.into_iter().collect();
        let bytes = payload.content_length() as u64;
        core.objects.put(&pack.object(), payload).await?;
        let mut offset = 0;
        let mut moves = Vec::with_capacity(group.len());
        for (file, from) in group {
            let to = Piece { place: Place::Pack { pack, offset }, ..from };
            offset += from.length;
            moves.push((file, from, to));
        }
        relocate(&mut state, pack, bytes, &moves);
        moved.push((pack, bytes, moves));
    }
    let mut manifest = state.to_manifest();
    (manifest.number, manifest.writer, manifest.writer_name) = (number, core.writer.clone(), writer_name);
    core.objects.put(&numbered(MANIFESTS, number), encode(MANIFEST_MAGIC, &manifest).into()).await?;
    let mut shared = core.lock();
    for (pack, bytes, moves) in &moved {
        shared.pack_bytes.insert(*pack, *bytes);
        relocate(&mut shared.state, *pack, *bytes, moves);
        // Nothing of it may be needed already.
        shared.bury_packs();
    }
    drop(shared);
    tracing::debug!(number, place = core.objects.shown(), "manifest written");
    Ok(number)
}

fn relocate(state: &mut State, pack: crate::extents::PackId, bytes: u64, moves: &[(u64, Piece, Piece)]) {
    state.packs.insert(pack, Pack { bytes, live_bytes: 0 });
    for (file, from, to) in moves {
        state.relocate(*file, from, to);
    }
    state.bury(pack);
}

/// Pieces in the log, with their files.
fn inline(state: &State) -> Vec<(u64, Piece)> {
    let pieces = state.files.iter().flat_map(|(file, image)| image.extents.pieces().map(|piece| (*file, piece)));
    pieces.filter(|(_, piece)| matches!(piece.place, Place::Inline(_))).collect()
}
