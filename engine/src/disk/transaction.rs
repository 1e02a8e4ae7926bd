//! Changing a copy: each change is one transaction of the file.

use crate::disk::DiskFault;
use crate::disk::client_buffer::check_records;
use crate::disk::staging::Staging;
use bateria_smbshim::fields::Layout;
use bateria_smbshim::ltdb_header::LtdbHeader;
use bateria_smbshim::marshall::Marshall;
use bateria_tdb::{StoreMode, Tdb};
use std::collections::BTreeMap;

/// Stores the records of a committed buffer in their order.
///
/// A record must be newer than the stored one, or have the same body; else nothing is stored
/// (database semantics §4.3). A buffer that has been applied is left alone, so that it can come
/// twice even if it holds several versions of a record.
pub(super) fn apply(tdb: &mut Tdb, buffer: &[u8]) -> Result<(), DiskFault> {
    let marshall = decode(buffer)?;
    let mut transaction = tdb.begin()?;
    if is_applied(&mut transaction, &marshall)? {
        return Ok(());
    }
    let mut stored = Vec::new();
    for record in marshall.records() {
        let (header, body) = record.split().expect("its records were checked");
        if transaction.fetch(record.key, &mut stored)?
            && let Ok((have, have_body)) = LtdbHeader::split(&stored)
            && have.rsn >= header.rsn
            && have_body != body
        {
            return Err(DiskFault::Stale { have: have.rsn, got: header.rsn });
        }
        transaction.store(record.key, &[record.data], StoreMode::Replace)?;
    }
    Ok(transaction.commit()?)
}

/// Removes records.
pub(super) fn delete(tdb: &mut Tdb, keys: &[Box<[u8]>]) -> Result<(), DiskFault> {
    let mut transaction = tdb.begin()?;
    for key in keys {
        transaction.delete(key)?;
    }
    Ok(transaction.commit()?)
}

/// Replaces all records by the staged ones. Tombstones do not come along.
pub(super) fn install(tdb: &mut Tdb, staging: &mut Staging) -> Result<(), DiskFault> {
    let mut transaction = tdb.begin()?;
    transaction.wipe()?;
    staging.each(|part| {
        for record in decode(part)?.records() {
            let (_, body) = record.split().expect("its records were checked");
            if !body.is_empty() {
                transaction.store(record.key, &[record.data], StoreMode::Replace)?;
            }
        }
        Ok::<_, DiskFault>(())
    })?;
    Ok(transaction.commit()?)
}

fn decode(buffer: &[u8]) -> Result<Marshall<'_>, DiskFault> {
    let marshall = Marshall::from_bytes(buffer).map_err(|fault| DiskFault::Buffer(fault.into()))?;
    check_records(&marshall).map_err(DiskFault::Buffer)?;
    Ok(marshall)
}

fn is_applied(tdb: &mut Tdb, marshall: &Marshall<'_>) -> Result<bool, DiskFault> {
    let newest: BTreeMap<_, _> =
        marshall.records().map(|record| (record.key, record.data)).collect();
    let mut stored = Vec::new();
    for (key, data) in newest {
        if !tdb.fetch(key, &mut stored)? || stored != data {
            return Ok(false);
        }
    }
    Ok(true)
}
