//! What MongoDB keeps of records: rows as documents, and documents as rows.

use mongodb::bson::{Bson, Document as Bsons, doc};

use super::super::row::{RobotRow, SecretRow};
use super::super::{Document, Failure, Version};
use super::{ROBOTS, SECRETS};

pub(super) fn odd(place: &str) -> Failure {
    Failure::Unusable { cause: format!("a document of {place} is not as this program writes it") }
}

pub(super) fn integer(document: &Bsons, key: &str, place: &str) -> Result<i64, Failure> {
    optional_integer(document, key, place)?.ok_or_else(|| odd(place))
}

pub(super) fn optional_integer(document: &Bsons, key: &str, place: &str) -> Result<Option<i64>, Failure> {
    match document.get(key) {
        None | Some(Bson::Null) => Ok(None),
        Some(Bson::Int64(number)) => Ok(Some(*number)),
        Some(Bson::Int32(number)) => Ok(Some(i64::from(*number))),
        Some(_) => Err(odd(place)),
    }
}

pub(super) fn text(document: &Bsons, key: &str, place: &str) -> Result<String, Failure> {
    optional_text(document, key, place)?.ok_or_else(|| odd(place))
}

pub(super) fn optional_text(document: &Bsons, key: &str, place: &str) -> Result<Option<String>, Failure> {
    match document.get(key) {
        None | Some(Bson::Null) => Ok(None),
        Some(Bson::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(odd(place)),
    }
}

pub(in crate::records) fn secret_row(document: &Bsons) -> Result<SecretRow, Failure> {
    let number = |key| optional_integer(document, key, SECRETS);
    let words = |key| optional_text(document, key, SECRETS);
    Ok(SecretRow {
        id: text(document, "_id", SECRETS)?,
        hash: text(document, "hash", SECRETS)?,
        kind: text(document, "kind", SECRETS)?,
        owner: text(document, "owner", SECRETS)?,
        robot: words("robot")?,
        living: text(document, "living", SECRETS)?,
        place: text(document, "place", SECRETS)?,
        epoch: integer(document, "epoch", SECRETS)?,
        made: integer(document, "made", SECRETS)?,
        ends: number("ends")?,
        idle: number("idle")?,
        over: number("over")?,
        used: number("used")?,
        used_from: words("used_from")?,
        used_by: words("used_by")?,
        revoked: number("revoked")?,
        version: integer(document, "version", SECRETS)?,
        document: text(document, "document", SECRETS)?,
    })
}

pub(in crate::records) fn secret_document(row: SecretRow) -> Bsons {
    doc! {
        "_id": row.id,
        "hash": row.hash,
        "kind": row.kind,
        "owner": row.owner,
        "robot": row.robot,
        "living": row.living,
        "place": row.place,
        "epoch": row.epoch,
        "made": row.made,
        "ends": row.ends,
        "idle": row.idle,
        "over": row.over,
        "used": row.used,
        "used_from": row.used_from,
        "used_by": row.used_by,
        "revoked": row.revoked,
        "version": row.version,
        "document": row.document,
    }
}

pub(in crate::records) fn robot_row(document: &Bsons) -> Result<RobotRow, Failure> {
    Ok(RobotRow {
        name: text(document, "_id", ROBOTS)?,
        labels: text(document, "labels", ROBOTS)?,
        disabled: integer(document, "disabled", ROBOTS)?,
        made: integer(document, "made", ROBOTS)?,
        version: integer(document, "version", ROBOTS)?,
    })
}

pub(in crate::records) fn robot_document(row: RobotRow) -> Bsons {
    doc! { "_id": row.name, "labels": row.labels, "disabled": row.disabled, "made": row.made, "version": row.version }
}

/// A name, and the number under a key.
pub(in crate::records) fn numbered(document: &Bsons, key: &str, place: &str) -> Result<(String, i64), Failure> {
    Ok((text(document, "_id", place)?, integer(document, key, place)?))
}

/// A text with its version, and its name.
pub(in crate::records) fn named_document(document: &Bsons, place: &str) -> Result<(String, Document), Failure> {
    let version = Version(integer(document, "version", place)?);
    Ok((text(document, "_id", place)?, Document { text: text(document, "document", place)?, version }))
}
