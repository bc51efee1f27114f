// The shop of the README, run for a short day.
import { expect } from 'chai';
import { cases, useStage } from '../../compat/shared_stage.ts';
import { furnish, shopDay } from './day.ts';
import { paymentGroups, shopTopics } from './shop.ts';

const ORDERS = 5;
const PURCHASES = 1_000;

describe('a shop on the official RocketMQ client', function () {
  this.timeout(240_000);

  const stage = useStage();

  cases.it(
    'places orders, has them paid, shipped or cancelled, texts its customers and survives a flash sale',
    async () => {
      await furnish(stage().admin.admin);
      const day = await shopDay({
        endpoints: stage().endpoint(),
        orders: ORDERS,
        purchases: PURCHASES,
        unpaidMs: 4_000,
      });
      await stage().endPolls(day.closed, Object.keys(shopTopics));
      const ids = (kind: string): string[] => Array.from({ length: ORDERS }, (_, at) => `${kind}-${at}`);

      // An order and its message exist together or not at all; of the one whose end was lost the broker asked.
      expect([...day.orders.keys()]).to.have.members([...ids('paid'), ...ids('unpaid'), 'crashed-0']);
      expect(day.asked).to.include('crashed-0');
      expect([...day.index.keys()]).to.have.members([...day.orders.keys()]);
      // Each of four groups hears of each payment.
      for (const group of paymentGroups) expect(day.paymentsSeen.get(group)).to.have.members(ids('paid'));
      // Unpaid orders are cancelled in time, others are not; the log of each order is in order.
      for (const [id, state] of day.orders) {
        expect(state).to.equal(id.startsWith('paid') ? 'paid' : 'cancelled');
        expect(day.index.get(id)).to.deep.equal(['placed', state]);
      }
      // What fails is tried again, at last given up, and is in nobody's way.
      expect(day.textAttempts.get('busy-1')).to.deep.equal([1, 2, 3]);
      expect(day.textAttempts.get('dead-1')).to.deep.equal([1, 2, 3, 4]);
      expect([day.textAttempts.get('fine-1'), day.textAttempts.get('fine-2')]).to.deep.equal([[1], [1]]);
      expect(day.deadTexts).to.deep.equal(['dead-1']);
      expect(day.sale.sold).to.equal(PURCHASES);
    },
  );
});
