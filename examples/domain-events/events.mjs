// The family of domain events, as an application would declare it.
import { Schema } from 'effect'

const Money = Schema.Struct({
  amount: Schema.Number.pipe(Schema.nonNegative()),
  currency: Schema.Literal('EUR', 'USD', 'GBP'),
}).annotations({ identifier: 'Money' })

const Address = Schema.Struct({
  street: Schema.NonEmptyString,
  city: Schema.NonEmptyString,
  zip: Schema.String.pipe(Schema.pattern(/^[0-9A-Z -]{3,10}$/)),
  country: Schema.String.pipe(Schema.length(2)),
}).annotations({ identifier: 'Address' })

const Line = Schema.Struct({
  sku: Schema.NonEmptyString,
  quantity: Schema.Int.pipe(Schema.positive()),
  price: Money,
}).annotations({ identifier: 'Line' })

const OrderId = Schema.UUID
const PaymentId = Schema.UUID
const UserId = Schema.UUID
const Service = Schema.String.pipe(Schema.pattern(/^[a-z][a-z0-9-]*$/))

export const events = {
  'order.placed': Schema.Struct({ orderId: OrderId, customerId: UserId, lines: Schema.NonEmptyArray(Line), total: Money, shipTo: Address, note: Schema.optional(Schema.String) }),
  'order.shipped': Schema.Struct({ orderId: OrderId, carrier: Schema.Literal('dhl', 'ups', 'post'), trackingNumber: Schema.NonEmptyString }),
  'order.delivered': Schema.Struct({ orderId: OrderId, signedBy: Schema.NullOr(Schema.String) }),
  'order.cancelled': Schema.Struct({ orderId: OrderId, reason: Schema.Literal('customer', 'stock', 'fraud'), refund: Schema.optional(Money) }),
  'payment.initiated': Schema.Struct({ paymentId: PaymentId, orderId: OrderId, amount: Money, method: Schema.Union(Schema.Struct({ kind: Schema.Literal('card'), last4: Schema.String.pipe(Schema.pattern(/^\d{4}$/)) }), Schema.Struct({ kind: Schema.Literal('sepa'), iban: Schema.NonEmptyString })) }),
  'payment.completed': Schema.Struct({ paymentId: PaymentId, amount: Money }),
  'payment.failed': Schema.Struct({ paymentId: PaymentId, code: Schema.Literal('declined', 'expired', 'timeout'), retryable: Schema.Boolean }),
  'payment.refunded': Schema.Struct({ paymentId: PaymentId, amount: Money, reason: Schema.optional(Schema.String) }),
  'system.started': Schema.Struct({ service: Service, version: Schema.String.pipe(Schema.pattern(/^\d+\.\d+\.\d+$/)), host: Schema.NonEmptyString }),
  'system.stopped': Schema.Struct({ service: Service, exitCode: Schema.Int.pipe(Schema.between(0, 255)) }),
  'system.health': Schema.Struct({ service: Service, status: Schema.Literal('ok', 'warn', 'fail'), checks: Schema.Record({ key: Schema.String, value: Schema.Boolean }) }),
  'user.created': Schema.Struct({ userId: UserId, email: Schema.String.pipe(Schema.pattern(/^[^@\s]+@[^@\s]+$/)), roles: Schema.Array(Schema.Literal('admin', 'customer', 'support')) }),
  'user.updated': Schema.Struct({ userId: UserId, changed: Schema.Struct({ email: Schema.optional(Schema.String), address: Schema.optional(Address) }) }),
  'user.deleted': Schema.Struct({ userId: UserId, erased: Schema.Boolean }),
}
