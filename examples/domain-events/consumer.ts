// A consumer that handles every registered event, checked by the compiler:
// events.ts is what eb_typescript() prints.
import type { DomainEvent } from './events.js'

export function describe(event: DomainEvent): string {
  switch (event.type) {
    case 'order.placed':
      return `${event.payload.lines.length} lines from ${event.payload.lines[0].sku}, ${event.payload.total.amount} ${event.payload.total.currency}, to ${event.payload.shipTo.city}${event.payload.note ?? ''}`
    case 'order.shipped':
      return `${event.payload.carrier} ${event.payload.trackingNumber}`
    case 'order.delivered':
      return event.payload.signedBy ?? 'nobody signed'
    case 'order.cancelled':
      return `${event.payload.reason} ${event.payload.refund?.amount ?? 0}`
    case 'payment.initiated':
      return event.payload.method.kind === 'card' ? event.payload.method.last4 : event.payload.method.iban
    case 'payment.completed':
      return event.payload.amount.amount.toFixed(2)
    case 'payment.failed':
      return `${event.payload.code} ${event.payload.retryable}`
    case 'payment.refunded':
      return event.payload.reason ?? ''
    case 'system.started':
      return `${event.payload.service} ${event.payload.version} on ${event.payload.host}`
    case 'system.stopped':
      return event.payload.exitCode.toString(10)
    case 'system.health':
      return Object.entries(event.payload.checks).filter(([, ok]) => !ok).map(([name]) => name).join()
    case 'user.created':
      return `${event.payload.email} ${event.payload.roles.join()}`
    case 'user.updated':
      return event.payload.changed.address?.city ?? ''
    case 'user.deleted':
      return String(event.payload.erased)
    default: {
      const forgotten: never = event // a new event type is a compile error here
      return forgotten
    }
  }
}

// @ts-expect-error: no such type is registered
export const unknownType: DomainEvent['type'] = 'order.lost'
export const wrongPayload = (event: Extract<DomainEvent, { type: 'order.shipped' }>) =>
  // @ts-expect-error: the carrier is one of three
  event.payload.carrier === 'pigeon'
