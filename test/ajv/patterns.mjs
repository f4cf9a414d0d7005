// Differential fuzzing of patterns: random ECMA 262 patterns and subjects,
// JavaScript's RegExp (flag u) against eb_schema_valid.
//   node patterns.mjs --pairs 50000 --seed 1
import { options, random } from './random.mjs'
import { verdicts } from './server.mjs'

const { pairs, seed, show } = options({ pairs: 50000, seed: Date.now() % 1000000, show: 10 })
const r = random(Number(seed))
const letters = ['a', 'b', 'c', 'A', 'B', '0', '1', '_', '-', ' ', 'é', 'ß', '日', '😀', '\n', '\t', '\u00a0', '\u2028', '.', '$', '^', '{', ']', '\\', '"', 'ſ', 'K', '٣']
const subject = () => Array.from({ length: r.int(7) }, () => r.pick(letters)).join('')

const literal = () => {
  const c = r.pick(letters)
  if ('.$^{]\\'.includes(c)) return '\\' + c
  if (r.chance(0.1) && c.codePointAt(0) < 256) return '\\x' + c.codePointAt(0).toString(16).padStart(2, '0')
  if (r.chance(0.1)) return `\\u{${c.codePointAt(0).toString(16)}}`
  if (c === '\n') return '\\n'
  return c
}
const classEscape = () => r.pick(['\\d', '\\D', '\\w', '\\W', '\\s', '\\S', '\\p{L}', '\\P{L}', '\\p{Lu}', '\\p{Nd}', '\\p{gc=Ll}', '\\p{ASCII}', '\\p{Letter}'])
function cls() {
  const items = Array.from({ length: 1 + r.int(3) }, () => {
    if (r.chance(0.25)) return classEscape()
    if (r.chance(0.3)) return r.pick(['a-c', 'A-Z', '0-9', '\\x20-\\x7e', '\\u00e0-\\u00ff', '😀-😂', ' -é'])
    const c = literal()
    return c === '-' ? '\\-' : c
  })
  return `[${r.chance(0.3) ? '^' : ''}${items.join('')}${r.chance(0.1) ? '-' : ''}]`
}
function quantifier() {
  return r.pick(['', '', '', '*', '+', '?', '{2}', '{1,}', '{0,2}', '{0}', '{1,300}', '*?', '+?', '??', '{0,2}?'])
}
function atom(depth, ctx) {
  if (depth > 0 && r.chance(0.25)) {
    const kind = r.int(10)
    if (kind < 3) return `(${(ctx.groups++, disjunction(depth - 1, ctx))})` + quantifier()
    if (kind < 5) return `(?:${disjunction(depth - 1, ctx)})` + quantifier()
    if (kind < 6) return `(?<g${++ctx.groups}>${disjunction(depth - 1, ctx)})` + quantifier()
    return `(?${r.pick(['=', '!', '<=', '<!'])}${disjunction(depth - 1, ctx)})`
  }
  if (r.chance(0.06) && ctx.groups > 0) return `\\${1 + r.int(ctx.groups)}` + quantifier()
  return r.pick([literal, literal, literal, cls, classEscape, () => '.'])() + quantifier()
}
function alternative(depth, ctx) {
  let out = ''
  for (let i = 0, n = r.int(4); i < n; i++) {
    const a = r.int(14)
    out += a === 0 ? '^' : a === 1 ? '$' : a === 2 ? '\\b' : a === 3 ? '\\B' : atom(depth, ctx)
  }
  return out
}
const disjunction = (depth, ctx) => Array.from({ length: r.chance(0.25) ? 2 : 1 }, () => alternative(depth, ctx)).join('|')

const rows = []
const expected = []
console.log(`seed ${seed}`)
while (rows.length < Number(pairs)) {
  const pattern = disjunction(3, { groups: 0 })
  let re
  try {
    re = new RegExp(pattern, 'u')
  } catch {
    continue
  }
  for (let i = 0; i < 10; i++) {
    const s = subject()
    rows.push([JSON.stringify({ pattern }), JSON.stringify(s)])
    expected.push(re.test(s) ? 't' : 'f')
  }
}
const count = { valid: 0, refused: 0, disagreements: 0 }
const reasons = new Map()
verdicts(rows).forEach((verdict, i) => {
  if (verdict === 't') count.valid++
  if (verdict.startsWith('e 22') || verdict.startsWith('e 0A')) {
    count.refused++
    const reason = verdict.replace(/.*cannot be used: /, '')
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  } else if (verdict !== expected[i] && count.disagreements++ < Number(show))
    console.log(`RegExp ${expected[i]}, eventbus ${verdict}: ${rows[i][0]} ${rows[i][1]}`)
})
for (const [reason, n] of reasons) console.log(`refused ${n}: ${reason}`)
console.log(`${rows.length} pairs, ${count.valid} match, ${count.refused} refused, ${count.disagreements} disagreements`)
process.exit(count.disagreements > 0 ? 1 : 0)
