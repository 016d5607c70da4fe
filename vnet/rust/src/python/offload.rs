//! Offload completion for tests, which compare it with what others say of the same frames.

use nics::{Caps, Completer, Frame, HEAD, Offload, TxFrame};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use switch::TagEdit;

/// A virtio-net header's bytes and the frame behind it.
type Framed<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// What a port gets of `frame`, received with a virtio-net header (10 bytes): (header, frame) each.
/// `csum`: it takes partial checksums. Raises ValueError when the header is vetted and refused, and
/// when the frame can't be completed.
#[pyfunction]
#[pyo3(signature = (frame, header, *, csum=false, max_frame=1518))]
pub fn complete_offload<'py>(
    py: Python<'py>,
    frame: &[u8],
    header: [u8; Offload::LEN],
    csum: bool,
    max_frame: u32,
) -> PyResult<Vec<Framed<'py>>> {
    let refused = |reason: switch::DropReason| PyValueError::new_err(reason.name());
    let offload = Offload::from_bytes(&header)
        .vet(frame.len(), &frame[..frame.len().min(HEAD)])
        .ok_or_else(|| refused(switch::DropReason::DoorMalformed))?;
    let frame = Frame::flat(frame, offload);
    let mut out = Vec::new();
    Completer::new()
        .complete(
            &TxFrame { frame: &frame, edit: TagEdit::NONE },
            &Caps { csum, ..Caps::plain(max_frame) },
            &mut |burst| {
                for tx in burst {
                    let mut bytes = vec![0; tx.len()];
                    tx.copy_to(&mut bytes);
                    out.push((PyBytes::new(py, &tx.offload().to_bytes()), PyBytes::new(py, &bytes)));
                }
            },
        )
        .map_err(refused)?;
    Ok(out)
}
