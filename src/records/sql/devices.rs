//! Logins that a terminal began, in SQL.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::SqlRecords;
use crate::records::devices::{DeviceCount, DeviceId, DeviceLogin, DeviceLogins, UserCodeId, counted, read, written};
use crate::records::{Changed, Failure, Version};
use crate::sql::{Row, Step};

fn login_row(row: &Row) -> Result<DeviceLogin, Failure> {
    Ok(DeviceLogin {
        id: DeviceId(row.text(0)?.to_owned()),
        code: UserCodeId(row.text(1)?.to_owned()),
        network: row.text(2)?.to_owned(),
        ends: read(row.integer(3)?)?,
        version: Version(row.integer(4)?),
        text: row.text(5)?.to_owned(),
    })
}

#[async_trait]
impl DeviceLogins for SqlRecords {
    async fn make_device(&self, login: &DeviceLogin) -> Result<Changed, Failure> {
        let DeviceLogin { id, code, network, ends, text, version: _ } = login;
        let sql = "INSERT INTO dockwarden_devices (id, code, network, ends, version, document) \
                   VALUES ($1, $2, $3, $4, 1, $5)";
        let args = vec![
            id.0.as_str().into(),
            code.0.as_str().into(),
            network.as_str().into(),
            written(*ends).into(),
            text.as_str().into(),
        ];
        self.make(Step::one(sql, args)).await
    }

    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceLogin>, Failure> {
        let sql = "SELECT id, code, network, ends, version, document FROM dockwarden_devices WHERE id = $1";
        SqlRecords::read(self, sql, &[id.0.as_str().into()]).await?.first().map(login_row).transpose()
    }

    async fn device_called(&self, code: &UserCodeId) -> Result<Option<DeviceLogin>, Failure> {
        let sql = "SELECT id, code, network, ends, version, document FROM dockwarden_devices WHERE code = $1";
        SqlRecords::read(self, sql, &[code.0.as_str().into()]).await?.first().map(login_row).transpose()
    }

    async fn replace_device(&self, id: &DeviceId, text: &str, seen: Version) -> Result<Changed, Failure> {
        let sql = "UPDATE dockwarden_devices SET document = $3, version = version + 1 WHERE id = $1 AND version = $2";
        let step = Step::one(sql, vec![id.0.as_str().into(), seen.0.into(), text.into()]);
        self.change(&[step], "SELECT 1 FROM dockwarden_devices WHERE id = $1", id.0.as_str().into()).await
    }

    async fn count_devices(&self, network: &str) -> Result<DeviceCount, Failure> {
        let sql = "SELECT COUNT(*), COUNT(CASE WHEN network = $1 THEN 1 END) FROM dockwarden_devices";
        let rows = SqlRecords::read(self, sql, &[network.into()]).await?;
        let count = |row: &Row| Ok(DeviceCount { all: counted(row.integer(0)?), of_network: counted(row.integer(1)?) });
        rows.first().map_or(Ok(DeviceCount::default()), count)
    }

    async fn forget_devices(&self, ended_before: OffsetDateTime) -> Result<(), Failure> {
        let sql = "DELETE FROM dockwarden_devices WHERE ends < $1";
        self.write(&[Step::any(sql, vec![written(ended_before).into()])]).await?;
        Ok(())
    }
}
