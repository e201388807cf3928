//! Logins that a terminal began, in MongoDB.

use async_trait::async_trait;
use mongodb::bson::{Document as Bsons, doc};
use time::OffsetDateTime;

use super::documents::{integer, text};
use super::{MongoRecords, next};
use crate::records::devices::{DeviceCount, DeviceId, DeviceLogin, DeviceLogins, UserCodeId, read, written};
use crate::records::{Changed, Failure, Version};

/// The collection.
pub(in crate::records) const DEVICES: &str = "dockwarden_devices";

fn login_of(document: &Bsons) -> Result<DeviceLogin, Failure> {
    Ok(DeviceLogin {
        id: DeviceId(text(document, "_id", DEVICES)?),
        code: UserCodeId(text(document, "code", DEVICES)?),
        network: text(document, "network", DEVICES)?,
        ends: read(integer(document, "ends", DEVICES)?)?,
        version: Version(integer(document, "version", DEVICES)?),
        text: text(document, "document", DEVICES)?,
    })
}

#[async_trait]
impl DeviceLogins for MongoRecords {
    async fn make_device(&self, login: &DeviceLogin) -> Result<Changed, Failure> {
        let DeviceLogin { id, code, network, ends, text, version: _ } = login;
        let document = doc! {
            "_id": &id.0, "code": &code.0, "network": network, "ends": written(*ends), "version": 1_i64, "document": text,
        };
        self.insert(DEVICES, document).await
    }

    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceLogin>, Failure> {
        self.find_one(DEVICES, doc! { "_id": &id.0 }).await?.as_ref().map(login_of).transpose()
    }

    async fn device_called(&self, code: &UserCodeId) -> Result<Option<DeviceLogin>, Failure> {
        self.find_one(DEVICES, doc! { "code": &code.0 }).await?.as_ref().map(login_of).transpose()
    }

    async fn replace_device(&self, id: &DeviceId, text: &str, seen: Version) -> Result<Changed, Failure> {
        let filter = doc! { "_id": &id.0, "version": seen.0 };
        self.change(DEVICES, filter, doc! { "$set": { "document": text, "version": next(seen).0 } }).await
    }

    async fn count_devices(&self, network: &str) -> Result<DeviceCount, Failure> {
        let of = |filter: Bsons| async move {
            self.ask(DEVICES, |devices| {
                let filter = filter.clone();
                async move { devices.count_documents(filter).await }
            })
            .await
        };
        Ok(DeviceCount { of_network: of(doc! { "network": network }).await?, all: of(doc! {}).await? })
    }

    async fn forget_devices(&self, ended_before: OffsetDateTime) -> Result<(), Failure> {
        self.ask(DEVICES, |devices| async move {
            devices.delete_many(doc! { "ends": { "$lt": written(ended_before) } }).await
        })
        .await?;
        Ok(())
    }
}
