// Random schemas from the supported keywords, and instances that come close to
// satisfying them.  What ajv does not do as the specification says is left out:
// siblings of $ref in draft-07 (ajv looks at them), multipleOf with binary
// fractions that are not exact, $dynamicRef.
import { random } from './random.mjs'

const names = ['a', 'b', 'c', 'bb', 'foo', 'type', 'x-1', 'é', 'long_property_name']
const strings = ['', 'a', 'b', 'ab', 'foo', 'bar', 'aaa', '1', '日本', '😀', 'a b', 'null', 'foo\nbar', 'É']
const numbers = ['0', '1', '1.0', '-1', '2', '3', '1.5', '0.5', '-0', '10', '1e1', '100', '12345678901', '1e-2', '2.50']
const patterns = ['^a', 'b$', '^[a-z]+$', '\\d', '^\\w*$', 'o{2}', '^(foo|bar)$', '.', '^.{2,3}$', '\\S', '[^a]', 'a|^$', '\\bfoo\\b', '^\\p{L}+$', '(?=.*o)f', '(?<!f)o']
const types = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object']

export class Generator {
  constructor(seed) {
    this.r = random(seed)
  }

  scalar() {
    const r = this.r
    return r.pick([() => 'null', () => r.pick(['true', 'false']), () => r.pick(numbers), () => JSON.stringify(r.pick(strings)), () => r.pick(numbers), () => JSON.stringify(r.pick(strings))])()
  }

  // JSON text, so that numbers keep their spelling
  value(depth) {
    const r = this.r
    if (depth <= 0 || r.chance(0.4)) return this.scalar()
    if (r.chance(0.4)) return `[${Array.from({ length: r.int(4) }, () => this.value(depth - 1)).join(',')}]`
    return this.object(r.some(names, 0.3), depth)
  }

  object(keys, depth) {
    return `{${[...new Set(keys)].map((k) => `${JSON.stringify(k)}:${this.value(depth - 1)}`).join(',')}}`
  }

  // A schema as a JavaScript object; const and enum hold values parsed from text.
  schema(depth, draft, ctx, inPlace) {
    const r = this.r
    if (r.chance(0.06)) return r.chance(0.7)
    if (r.chance(0.12) && ctx.defs > 0) {
      // in place only to definitions that come later, so that nothing circles
      const low = inPlace === null ? 0 : inPlace + 1
      if (low < ctx.defs) {
        const ref = { $ref: `#/${ctx.key}/d${low + r.int(ctx.defs - low)}` }
        if (draft === '07' || r.chance(0.7)) return ref
        return { ...this.keywords(depth - 1, draft, ctx, inPlace), ...ref }
      }
    }
    return this.keywords(depth, draft, ctx, inPlace)
  }

  keywords(depth, draft, ctx, inPlace) {
    const r = this.r
    const out = {}
    const sub = () => this.schema(depth - 1, draft, ctx, null)
    const same = () => this.schema(depth - 1, draft, ctx, inPlace)
    const list = (f) => Array.from({ length: 1 + r.int(3) }, f)
    const map = (f) => Object.fromEntries(r.some(names, 0.25).map((n) => [n, f()]))
    const number = () => JSON.parse(r.pick(numbers))
    const small = () => r.int(4)
    const flat = {
      type: () => (r.chance(0.7) ? r.pick(types) : [...new Set([r.pick(types), r.pick(types)])]),
      const: () => JSON.parse(this.value(2)),
      enum: () => Array.from({ length: 1 + r.int(4) }, () => JSON.parse(this.value(1))),
      minimum: number,
      maximum: number,
      exclusiveMinimum: number,
      exclusiveMaximum: number,
      multipleOf: () => r.pick([1, 2, 0.5, 3, 10]),
      minLength: small,
      maxLength: small,
      pattern: () => r.pick(patterns),
      minItems: small,
      maxItems: small,
      uniqueItems: () => r.chance(0.8),
      minProperties: small,
      maxProperties: small,
      required: () => r.some(names, 0.15),
    }
    const deep = {
      properties: () => map(sub),
      patternProperties: () => Object.fromEntries(r.some(patterns, 0.12).map((p) => [p, sub()])),
      additionalProperties: () => (r.chance(0.5) ? false : sub()),
      propertyNames: sub,
      contains: sub,
      not: same,
      allOf: () => list(same),
      anyOf: () => list(same),
      oneOf: () => list(same),
      if: same,
      then: same,
      else: same,
      dependencies: () => Object.fromEntries(r.some(names, 0.15).map((n) => [n, r.chance(0.5) ? r.some(names, 0.2) : same()])),
    }
    if (draft === '07') {
      deep.items = () => (r.chance(0.6) ? sub() : list(sub))
      deep.additionalItems = () => (r.chance(0.5) ? false : sub())
    } else {
      delete deep.dependencies
      deep.items = () => (r.chance(0.3) ? false : sub())
      deep.prefixItems = () => list(sub)
      deep.dependentRequired = () => Object.fromEntries(r.some(names, 0.15).map((n) => [n, r.some(names, 0.2)]))
      deep.dependentSchemas = () => map(same)
      flat.minContains = small
      flat.maxContains = small
      deep.unevaluatedItems = () => (r.chance(0.6) ? false : sub())
      deep.unevaluatedProperties = () => (r.chance(0.6) ? false : sub())
    }
    for (let i = 0, n = 1 + r.int(3); i < n; i++) {
      const set = depth > 0 && r.chance(0.65) ? deep : flat
      const keyword = r.pick(Object.keys(set))
      out[keyword] = set[keyword]()
    }
    if (out.if !== undefined) {
      if (r.chance(0.7)) out.then = depth > 0 ? same() : true
      if (r.chance(0.7)) out.else = depth > 0 ? same() : false
    }
    if ((out.minContains !== undefined || out.maxContains !== undefined) && depth > 0) out.contains = sub()
    return out
  }

  document(draft) {
    const r = this.r
    const ctx = { defs: r.int(4), key: draft === '07' ? 'definitions' : '$defs' }
    const root = this.keywords(3, draft, ctx, -1)
    root.$schema = draft === '07' ? 'http://json-schema.org/draft-07/schema#' : 'https://json-schema.org/draft/2020-12/schema'
    if (ctx.defs > 0) {
      root[ctx.key] = {}
      for (let i = 0; i < ctx.defs; i++) root[ctx.key][`d${i}`] = this.keywords(2, draft, ctx, i)
    }
    return root
  }

  // An instance that the schema leads to, changed now and then.
  instance(schema, root, depth) {
    const r = this.r
    if (typeof schema !== 'object' || schema === null || depth <= 0 || r.chance(0.12)) return this.value(2)
    if (schema.$ref) return this.instance(root[schema.$ref.split('/')[1]][schema.$ref.split('/')[2]], root, depth - 1)
    if ('const' in schema && r.chance(0.8)) return JSON.stringify(schema.const)
    if (schema.enum && r.chance(0.8)) return JSON.stringify(r.pick(schema.enum))
    for (const k of ['allOf', 'anyOf', 'oneOf']) if (schema[k] && r.chance(0.5)) return this.instance(r.pick(schema[k]), root, depth - 1)
    for (const k of ['if', 'then', 'else', 'not']) if (schema[k] !== undefined && r.chance(0.25)) return this.instance(schema[k], root, depth - 1)
    const type = schema.type ? [].concat(schema.type)[0] : null
    if (type === 'object' || schema.properties || schema.required || schema.patternProperties || schema.unevaluatedProperties !== undefined || schema.additionalProperties !== undefined || schema.dependentSchemas) {
      const keys = new Set(r.some([...(schema.required ?? [])], 0.95))
      for (const k of Object.keys(schema.properties ?? {})) if (r.chance(0.7)) keys.add(k)
      for (const k of r.some(names, 0.15)) keys.add(k)
      return `{${[...keys].map((k) => `${JSON.stringify(k)}:${this.instance((schema.properties ?? {})[k] ?? true, root, depth - 1)}`).join(',')}}`
    }
    if (type === 'array' || schema.items !== undefined || schema.prefixItems || schema.contains !== undefined || schema.uniqueItems || schema.unevaluatedItems !== undefined) {
      const prefix = schema.prefixItems ?? (Array.isArray(schema.items) ? schema.items : [])
      const rest = Array.isArray(schema.items) ? schema.additionalItems : schema.items
      return `[${Array.from({ length: r.int(5) }, (_, i) => this.instance(prefix[i] ?? (r.chance(0.4) ? schema.contains : rest) ?? true, root, depth - 1)).join(',')}]`
    }
    if (type === 'string' || schema.pattern || schema.minLength !== undefined) return JSON.stringify(r.pick(strings))
    if (type === 'integer' || type === 'number' || schema.minimum !== undefined || schema.multipleOf) return r.pick(numbers)
    return this.value(2)
  }
}
