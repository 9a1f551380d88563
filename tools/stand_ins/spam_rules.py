"""What bulk senders write, by campaign; some of it chatty and personal."""

from __future__ import annotations

HOOKS = {
    "premium": (
        "0906{ddd}{dddd}|0906{dd} {ddd}{dd}|0871{ddd}{dddd}|0905{ddd}{dddd}|0909{ddd}{dddd}|"
        "0871 {ddd} {dddd}"
    ),
    "short_code": "8{dddd}|6{dddd}|8{d1}{ddd}|8{d1}{d1}{dd}",
    "rate": "£1.50/min|150p/msg|25p per text|£3/wk|50p|{d1}0p/min|£1.50 per msg|£{d1}/week|10p/min",
    "big_sum": (
        "£100|£200|£250|£350|£500|£750|£1000|£1,500|£2000|£5000|£10,000|£{d1}00|{d1}50 pounds"
    ),
    "keyword": (
        "WIN|YES|GO|PLAY|CHAT|TONE|CLAIM|LOVE|DATE|CASH|GAME|HOT|VOTE|FUN|MATCH|LUCKY|DEAL|"
        "{reference}"
    ),
    "site": (
        "www.{site_word}{site_word}.{site_end}|www.{site_word}-{site_word}.{site_end}|"
        "http://{site_word}{site_word}.{site_end}/{reference}|{site_word}{site_word}.{site_end}"
    ),
    "site_word": (
        "win|text|fone|tone|date|chat|mobi|prize|club|cash|fun|sms|deal|lucky|game|love|free|shop"
    ),
    "site_end": "com|co.uk|net|tv|biz|org.uk",
    "by": "by {date}|before Friday|today|now|within 24 hours|this week|before midnight",
    "call_hook": (
        "call {@premium}|call {@premium} now|ring {@premium} {by}|to claim call {@premium}|"
        "phone {@premium} from your landline|just call {@premium}|call free on {helpline}|"
        "speak to us on {@premium}|call {@premium} {by} to claim"
    ),
    "text_hook": (
        "text {@keyword} to {@short_code}|send {@keyword} to {@short_code} {by}|reply {@keyword}|"
        "txt {@keyword} to {@short_code} now|just reply {@keyword} to this message|"
        "reply with your name and age|text {@keyword} and your postcode to {@short_code}|"
        "reply to this msg"
    ),
    "web_hook": "see {@site}|go to {@site}|visit {@site} {by}|log on to {@site}|more at {@site}",
    "hook": "{call_hook}|{call_hook}|{text_hook}|{text_hook}|{text_hook}|{web_hook}",
    "terms": (
        "{rate}|cost {rate}|calls {rate}|T&Cs apply|18+|Ts and Cs {@site}|{rate} 18+|"
        "to stop text STOP to {@short_code}|text STOP to opt out|PO Box {dddd} {city}|std txt rate|"
        "reply STOP to end|ref {reference}|code {reference}|expires {date}|terms {@site}|"
        "opt out reply STOP|Box {ddd} {upper}{upper}{d1} {d}{upper}{upper}|{rate} from any network|"
        "bill payer only"
    ),
}

CAMPAIGNS = {
    "prize": (
        "you have won {@big_sum}|congratulations, you have been selected for a {@big_sum} prize|"
        "your number has won a {@brand}|you are a winner of our weekly draw|"
        "we have tried to call you about your prize|your {@big_sum} is waiting|"
        "2nd attempt to reach you|this is our final try to contact you|"
        "a {@big_sum} prize is guaranteed|your mobile was drawn as the {month} winner|"
        "claim your {@brand} or {@big_sum}|your award is still unclaimed|"
        "lucky numbers ending {dddd} win {@big_sum}|you could be {@big_sum} richer {day}|"
        "enter our draw for a {@brand}"
    ),
    "tone": (
        "get {@music} on your phone|new ringtones this week|your free tone is ready|"
        "the latest polyphonic tones only {price}|download {film} wallpaper|"
        "top {small_number} chart tones|make {@music} your ringtone|"
        "get a free game for your {@brand}|logos and pictures for {@network} phones|"
        "the tone you ordered will be with you shortly|choose {small_number} tones for {price}|"
        "the funniest caller tunes around|play {film} the game on your mobile"
    ),
    "dating": (
        "someone you know fancies you|a secret admirer wants to meet you|"
        "{@friend} is in your area and wants to chat|meet local singles {day}|"
        "{@friend} 2{d} from {@city} is waiting to hear from you|find out who likes you|"
        "who thinks you are {kind_word}?|lonely {day}? chat now|"
        "hundreds of people in {@city} want a date|see pics of singles near {@city}|"
        "you have {small_number} new matches|can you guess who it is?|flirt with real people {day}|"
        "your match has sent you a picture"
    ),
    "account": (
        "your {@network} account shows {ddd} points not claimed|your {@network} statement is ready|"
        "you have {ddd} unused points|your account balance has changed|"
        "your free minutes expire on {date}|update your {@network} details|"
        "important notice about your mobile|your bonus points can be swapped for a {@brand}|"
        "your {@network} line is due {percent} off|your voicemail has {small_number} new messages|"
        "a message is waiting for you|you have been charged {price} by mistake"
    ),
    "upgrade": (
        "you are due a free upgrade|swap your phone for a new {@brand}|"
        "get a {@brand} with {small_number}00 free minutes|"
        "half price line rental for {hour} months|{@network} customers get a free {@brand}|"
        "had your phone a year? you can upgrade|the latest {@brand} delivered {day}|"
        "double minutes and free texts on {@network}|call our sales team for a {@brand}|"
        "free delivery {day}|keep your number and get a {@brand}|"
        "{small_number}00 texts free every month"
    ),
    "holiday": (
        "win a trip to {@holiday_place}|your {@holiday_place} holiday awaits|"
        "{small_number} nights in {@holiday_place} for {price}|"
        "two flights to {@city} for {big_sum}|you have been selected for a {@holiday_place} break|"
        "last minute deals to {@holiday_place}|sun, sea and {@holiday_place} for {price}|"
        "collect your {@holiday_place} tickets|holiday cash of {@big_sum} too|"
        "escape the {weather} {day}|fly from {@city} for {price}"
    ),
    "loan": (
        "need cash? borrow {@big_sum}|loans from {@big_sum} for any purpose|bad credit no problem|"
        "clear your debts {day}|money in your bank {day}|you may be owed {@big_sum}|"
        "have you had an accident?|homeowners borrow {@big_sum}|cut your bills by {percent}|"
        "write off your debt|no fees to pay|tenants welcome|earn {@big_sum} a week from home|"
        "work from home and earn {price} an hour"
    ),
    "quiz": (
        "which {sport} team plays in {city}?|who sang {music}?|"
        "answer {small_number} questions and win {@big_sum}|your next question is worth {@big_sum}|"
        "who won the {contest}, {team} or {team}? A or B|vote for your favourite on {@film}|"
        "the {@film} vote is open|guess the score of {@team} v {team}|play trivia {day}|"
        "correct! next question|text your vote for {@film}|your score is {ddd} points"
    ),
    "sport_alert": (
        "{@team} goal alerts to your phone|get {@sport} news as it happens|"
        "{@team} {score} {team}, more scores by text|free bet of {price} on {@team}|"
        "tickets for the {contest} to be won|back {@team} {day} and get {price}|"
        "the {@contest} starts {day}|{@team} fans get a free shirt|best odds on {@sport} {day}|"
        "live {@sport} on your mobile|tips for the {clock} {@contest}"
    ),
    "shopping": (
        "{percent} off everything at {@shop} {day}|you have a {@big_sum} {@shop} voucher|"
        "{@shop} customers chosen for a {@big_sum} gift card|claim your gift from {@shop}|"
        "spend {price} and get {gift} free|sale at {@shop} ends {day}|"
        "{gift} for every caller, free|win a year of shopping at {@shop}|"
        "show this text at {@shop} for {percent} off|recipe club: {dish} and more by text|"
        "we deliver {dish} to your door, {percent} off {day}|your {@shop} parcel is waiting"
    ),
    "stars": (
        "your {@star_sign} horoscope is ready|{@star_sign}: love is coming {day}|"
        "a psychic has a message for {@star_sign}|what do the stars say about {day}?|"
        "{@star_sign} will come into money|your lucky number is {d1}{d}|"
        "daily horoscopes for {price}|{@friend} the psychic wants to read your future|"
        "find out if you match {star_sign}|today's weather and stars by text"
    ),
    "chatty": (
        "hi it's {@friend}, i changed my number|it's {@friend}, did you get the pics i sent?|"
        "hey it's me, are you around {day}?|hiya, i'm home alone and {feeling}|"
        "sorry i missed your call|i've been thinking about you {@pet}|"
        "{@friend} here, we met in {@city}, remember?|want to meet {day} {@pet}?|"
        "i've got a new {@brand} and no one to text|i'm so {feeling} {day}, chat to me|"
        "are you coming out {day}?|my sister thinks you are {kind_word}|"
        "do you fancy going to {place} {day}?|guess who this is|i saw you in {place} {day}|"
        "been trying to get you all day|i'm {feeling}, cheer me up {@pet}"
    ),
}

OPENINGS = {
    "shout": (
        "urgent|free msg|winner|congratulations|important|private|hot news|last chance|attention|"
        "good news|free entry|special offer|well done|final notice|dear customer|hi {friend}|hello|"
        "dear {@network} customer|freemsg|thank you|alert|guess what|stop press|dear subscriber"
    ),
    "push": (
        "don't miss out|hurry|it's free|offer ends {day}|limited places|guaranteed|act now|"
        "reply {by}|100% free to join|no catch|only {small_number} left|you must be 18|no strings|"
        "simply tell us where to send it|yours free|as seen on TV|from just {price}|"
        "ask a friend too|lines close at {clock}|for {network} users only|first week free|"
        "it could be you|be quick"
    ),
}

RULES = (HOOKS, CAMPAIGNS, OPENINGS)

CAMPAIGN_NAMES = tuple(CAMPAIGNS)
