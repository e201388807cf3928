// Run by the mongo image at its very first start: the server's user, who may read, and the administrators', who may write.
const password = (name) => require("fs").readFileSync("/run/secrets/" + name, "utf8").trim();
const registry = db.getSiblingDB("registry");
registry.createUser({ user: "dockwarden", pwd: password("mongo_server"), roles: ["read"] });
// dbAdmin is for the validators that `dockwarden migrate` sets.
registry.createUser({ user: "admin", pwd: password("mongo_admin"), roles: ["readWrite", "dbAdmin"] });
