// What the verifier would refuse is refused here. The grammar is that of docs/reference/claims.md and docs/reference/operators.md.

import { SigningRefused } from "./payload.js";

const TEXT = 256;
const DATASETS = 10_000;
const DASHBOARDS = 1_000;
const ORIGINS = 32;
const GROUPS = 100;
const FILTERS = 100;
const VALUES = 100_000;
const STRING = 4096;

const OPERATORS = [
  ...["=", "!=", ">", ">=", "<", "<=", "is_one_of", "is_not_one_of", "starts_with", "ends_with", "contains_substring"],
  ...["does_not_contain_substring", "is_null", "is_not_null", "between", "array_contains"],
];
const NULL_TESTS = new Set(["is_null", "is_not_null"]);
const LISTS = new Set(["is_one_of", "is_not_one_of"]);
const ORDERED = new Set([">", ">=", "<", "<="]);
const TEXTUAL = new Set(["starts_with", "ends_with", "contains_substring", "does_not_contain_substring", "array_contains"]);
// As browsers write it (https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin).
const ORIGIN = /^[a-z][a-z0-9+.-]{1,31}:\/\/(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?$/;
const IMPLIED = { http: ":80", https: ":443" };

/** A string of 1 to 256 characters. Throws SigningRefused. */
export function named(value, name) {
  if (typeof value !== "string" || value === "" || longer(value, TEXT)) throw new SigningRefused(`\`${name}\` must be a string of 1 to ${TEXT} characters`);
  return value;
}

/** The claims of a data access token, in JSON's own types. Throws SigningRefused. */
export function checkData({ dataSetIds: ids, secureFilters: filters, parameters }) {
  if (ids !== "*") {
    if (!Array.isArray(ids) || ids.length === 0 || ids.length > DATASETS) {
      throw new SigningRefused(`\`dataSetIds\` must be a list of 1 to ${DATASETS} ids, or the string "*"`);
    }
    for (const id of ids) named(id, "dataSetIds");
    if (ids.includes("*")) throw new SigningRefused('`dataSetIds` holds "*" in a list: write the string "*" itself to grant every dataset');
  }
  if (!isObject(filters)) throw new SigningRefused("`secureFilters` must be an object: dataset id -> list of filters");
  for (const [id, tree] of Object.entries(filters)) {
    if (id === "*") throw new SigningRefused('`secureFilters` has the key "*", which is no dataset: write filters for each dataset by its id');
    if (!Array.isArray(tree) || tree.length > 0) checkTree(tree, `secureFilters.${id}`);
  }
  if (parameters !== undefined && !isObject(parameters)) throw new SigningRefused("`parameters` must be an object");
}

/** What names the dashboards of a dashboard access token, as claims. Throws SigningRefused. */
export function place({ organisationId, dashboardId, projectId, parentDashboardIds: parents }) {
  if ((organisationId === undefined) === (projectId === undefined)) {
    throw new SigningRefused("name exactly one place: `projectId`, or the older `organisationId`");
  }
  if (projectId === undefined) {
    if (parents !== undefined) throw new SigningRefused("`parentDashboardIds` belongs to `projectId`: write `dashboardId`");
    const claims = { organisationId: named(organisationId, "organisationId") };
    return dashboardId === undefined ? claims : { ...claims, dashboardId: named(dashboardId, "dashboardId") };
  }
  if (dashboardId !== undefined) throw new SigningRefused("`dashboardId` belongs to `organisationId`: write `parentDashboardIds`");
  const claims = { projectId: named(projectId, "projectId") };
  if (parents === undefined) return claims;
  if (!Array.isArray(parents) || parents.length === 0 || parents.length > DASHBOARDS) {
    throw new SigningRefused(`\`parentDashboardIds\` must be a list of 1 to ${DASHBOARDS} ids`);
  }
  return { ...claims, parentDashboardIds: Array.from(parents, (id) => named(id, "parentDashboardIds")) };
}

/** To whom the token is bound, as claims. Throws SigningRefused. */
export function binding({ allowedOrigins: origins, dpopThumbprint: jkt }) {
  const claims = {};
  if (origins !== undefined) {
    if (!Array.isArray(origins) || origins.length === 0 || origins.length > ORIGINS || new Set(origins).size < origins.length) {
      throw new SigningRefused(`\`allowedOrigins\` must be a list of 1 to ${ORIGINS} different origins`);
    }
    for (const origin of origins) {
      if (typeof origin !== "string" || !ORIGIN.test(origin) || origin.endsWith(IMPLIED[origin.split(":")[0]] ?? "/")) {
        throw new SigningRefused(
          "`allowedOrigins` holds what no browser sends as `Origin`: write `https://app.example.com`, lower case, no path, no port that its scheme implies",
        );
      }
    }
    claims.allowedOrigins = [...origins];
  }
  if (jkt !== undefined) {
    if (typeof jkt !== "string" || !/^[A-Za-z0-9_-]{43}$/.test(jkt)) throw new SigningRefused("`dpopThumbprint` must be an RFC 7638 thumbprint (SHA-256)");
    claims.cnf = { jkt };
  }
  return claims;
}

function checkTree(tree, at) {
  if (!Array.isArray(tree)) throw malformed(at, "must be a list of groups of filters");
  if (tree.every(isObject)) {
    checkGroup(tree, at);
    if (tree.length > 1) throw malformed(at, "is a flat list of two or more filters: write [[A, B]] for A AND B, [[A], [B]] for A OR B");
    return;
  }
  if (tree.length > GROUPS) throw malformed(at, `holds more than ${GROUPS} groups`);
  tree.forEach((group, number) => checkGroup(group, `${at}[${number}]`));
}

function checkGroup(group, at) {
  if (!Array.isArray(group)) throw malformed(at, "must be a list, as its neighbours are: write [[A, B], [C]]");
  if (group.length === 0) throw malformed(at, "is an empty group, which every row would pass");
  if (group.length > FILTERS) throw malformed(at, `holds more than ${FILTERS} filters`);
  group.forEach((filter, number) => checkFilter(filter, `${at}[${number}]`));
}

function checkFilter(filter, at) {
  if (!isObject(filter)) throw malformed(at, "must be an object of field, op and value");
  const { field, op, value } = filter;
  if (typeof field !== "string" || field === "" || longer(field, TEXT)) throw malformed(`${at}.field`, `must be a string of 1 to ${TEXT} characters`);
  if (!OPERATORS.includes(op)) throw malformed(`${at}.op`, `must be one of ${OPERATORS.join(", ")}`);
  const wanted = NULL_TESTS.has(op) ? ["field", "op"] : ["field", "op", "value"];
  if (Object.keys(filter).sort().join() !== wanted.join()) throw malformed(at, `must have exactly the members ${wanted.join(", ")}`);
  if (!NULL_TESTS.has(op)) checkValue(op, value, `${at}.value`);
}

function checkValue(op, value, at) {
  if (LISTS.has(op) || op === "between") {
    if (!Array.isArray(value) || value.length === 0) throw malformed(at, "must be a list of at least one value");
    if (value.length > VALUES) throw malformed(at, `holds more than ${VALUES} values`);
    const kinds = new Set(value.map(kind));
    if (kinds.size > 1 || kinds.has(null)) {
      throw malformed(at, "must hold values of one kind: only strings, only numbers, or only true and false (null is none)");
    }
    if (value.some((item) => typeof item === "string" && longer(item, STRING))) throw malformed(at, `holds a string of more than ${STRING} characters`);
    if (op === "between" && (value.length !== 2 || kinds.has("boolean"))) throw malformed(at, "must be a list of two numbers or two strings");
    return;
  }
  if (value === null) {
    throw malformed(at, "is null, which no operator takes: sign the value that was meant, or write is_null or is_not_null");
  }
  if (kind(value) === null) throw malformed(at, "must be a single string, number, true or false");
  if (typeof value === "string" && longer(value, STRING)) throw malformed(at, `is longer than ${STRING} characters`);
  if (ORDERED.has(op) && typeof value === "boolean") throw malformed(at, "must be a number or a string: true and false have no order");
  if (TEXTUAL.has(op) && (typeof value !== "string" || value === "")) {
    throw malformed(at, "must be a string of at least one character: every text contains the empty one");
  }
}

function kind(value) {
  const type = typeof value;
  return type === "bigint" ? "number" : type === "string" || type === "number" || type === "boolean" ? type : null;
}

// In characters, as the verifier counts, not in UTF-16 units.
function longer(value, length) {
  return value.length > length && [...value].length > length;
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function malformed(at, reason) {
  return new SigningRefused(`\`${at}\` ${reason}`);
}
