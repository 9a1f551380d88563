"""What people write to each other, by subject, and what honest firms write to customers."""

from __future__ import annotations

SMALL_TALK = {
    "hello": (
        "hi|hey|hello|hiya|morning|good morning|evening|hey {@pet}|hi {@friend}|hello {@pet}|"
        "hey {@friend}|yo|alright {@pet}|oi"
    ),
    "bye": (
        "see you|see you {day}|bye|take care|talk later|love you|night night|cheers|ta|speak soon|"
        "see you there|later|good night {@pet}|have a good one|miss you|thanks {@pet}"
    ),
    "short": (
        "ok|ok thanks|yes|no|yup|nope|sure|where are you|call me|i'm here|on my way|thanks|"
        "no problem|what time|sounds good|not yet|maybe|just got home|can't talk now|ring me later|"
        "sorry i'm in a meeting|i'll call you later|in the shower|what's up|ok see you then|"
        "good night|{laugh}|{laugh} ok|are you there|what are you doing|why not|done|same here|"
        "yes please|who is this|i'm driving|ok {@pet}|{hello}|text me|stuck at work|still in bed|"
        "i don't know|oh no|well done|congrats|call you back|give me {minutes} minutes|"
        "did you get my text|sorry my battery died|got it|you there yet|nearly there"
    ),
    "filler": (
        "how are you|how was your day|hope you are well|what are you up to|anyway|let me know|"
        "what do you think|{laugh}|i'm so {feeling}|you ok?|don't worry|i'm {feeling} {day}|"
        "text me when you can|tell {who} i said hi|not sure yet|it's up to you|sorry for the delay|"
        "i was asleep|can't believe it|what a day|guess what|that's {kind_word}|no rush|"
        "i'll tell you later|thanks for last night|did you sleep well|are you free {day}?|"
        "call me when you get this|i'm {feeling} now|say hi to {who}|you know what i mean"
    ),
}

SUBJECTS = {
    "meet": (
        "where are you|i'm at {@place}|i saw you in {place} {day}|"
        "do you fancy going to {place} {day}?|i'm running {minutes} minutes late|"
        "shall we meet at {@place} at {clock}?|are you coming {day}?|"
        "i'll be there in {minutes} minutes|we are waiting outside {@place}|"
        "can you pick me up from {@place}?|meet you at {@place} then|{who} is coming too|"
        "what time shall i come over?|i can't make it {day}|can we make it {clock} instead?|"
        "save me a seat|i can see {who} at {@place}|let's go to {@place} {day}|"
        "i'm outside, open the door|is {who} with you?|leaving {@place} now|"
        "call me when you reach {@place}|see you at {clock}"
    ),
    "food": (
        "i'm making {@dish} {day}|can you get some {ingredient} and {ingredient}?|"
        "the {@dish} was {taste}|{cooking} the {ingredient} first, then add the {ingredient}|"
        "put the {@dish} in {kitchen} for {minutes} minutes|what's for dinner?|"
        "i had {@dish} for lunch|have you eaten yet?|do we have any {ingredient} left?|"
        "{who} cooked {@dish} and it was {taste}|i'm starving|"
        "the recipe says {small_number} spoons of {ingredient}|shall i order {dish} or cook?|"
        "the {ingredient} is in the fridge|{cooking} the {ingredient} in {kitchen}|"
        "i burnt the {@dish} again|breakfast at {clock}?|come round for {@dish}|"
        "add more {ingredient} to the {@dish}|the cafe does {taste} {dish}|"
        "don't forget the {ingredient}"
    ),
    "weather_talk": (
        "it's {weather_like} here|is it {weather_like} in {@city}?|"
        "the forecast says {weather} {day}|take an umbrella, it's {weather_like}|"
        "{weather} all day in {@city}|it's {temperature} outside|so much {weather} {day}|"
        "the {weather} kept me awake|wear a coat, it's {weather_like}|"
        "hope the {weather} stops by {day}|they say {weather} and {weather} for {@city}|"
        "what's the weather like there?|roads are closed because of the {weather}|"
        "it will be {weather_like} {day}, about {temperature}|finally some {weather}|"
        "the sky is grey and it's {weather_like}|clear skies {day} i think|"
        "the temperature dropped to {temperature}|got soaked in the {weather}"
    ),
    "sport_talk": (
        "did you see the {@contest}?|{@team} won {score}|{@team} lost {score} again|"
        "{@sport} training is at {clock}|are you playing {@sport} {day}?|what a goal by {team}|"
        "the {player} was rubbish|{@team} are through to the {contest}|"
        "i've got tickets for the {@contest} {day}|my legs hurt after {@sport}|"
        "we beat {team} {score}|the {player} got sent off|who's in the team {day}?|"
        "the {contest} starts at {clock}|{friend} scored twice in the {@contest}|"
        "want to watch {@team} at the pub?|we need one more player for {@sport}|"
        "the {player} is injured|{@team} play {team} {day}|going to the gym then {@sport}|"
        "best {@contest} this season"
    ),
    "work": (
        "my {@job} is at {clock}|the boss moved the {@job} to {day}|still at work|"
        "can you cover my shift {day}?|i finish at {clock}|the {@job} went well|"
        "can you send me the {job} by {day}?|did {friend} do the {@job}?|so busy {day}|"
        "i hate this job|working late {day}|got the job!|payday {day} at last|"
        "the printer is broken again|please email the {job}|i'm off sick {day}|"
        "meeting with the manager at {clock}|can you print the {@job}?|"
        "they want me in {city} for a {job}|the account needs the {job} first|"
        "i called the bank about the {@job}"
    ),
    "study": (
        "how was the {@subject} exam?|the {@homework} is due {day}|"
        "i'm in the library doing {@subject}|did you finish the {@homework}?|"
        "can i borrow your {@subject} notes?|the lecture is at {clock}|i failed {@subject}|"
        "i passed!|my {@homework} has {small_number} pages to go|{friend} has the {subject} book|"
        "is there a {subject} class {day}?|i don't understand question {small_number}|"
        "the teacher moved the {@homework}|revising {@subject} all night|"
        "which room is {@subject} in?|results are out {day}|"
        "only {small_number} people turned up for {@subject}|can you explain the {@subject} stuff?"
    ),
    "travel": (
        "the {@vehicle} is late|just got on the {@vehicle}|i land in {@city} at {clock}|"
        "stuck in traffic near {@place}|which {@vehicle} do i take to {@city}?|"
        "missed the {@vehicle}|i'm in {@city} until {day}|how's {@city}?|"
        "my {@vehicle} leaves at {clock}|have you booked the {@vehicle}?|"
        "tickets to {@city} are {price}|going to {holiday_place} with {who}|"
        "the hotel in {@city} is {kind_word}|safe trip|pack your {thing}|"
        "i'll fetch you from the {vehicle}|we get to {@city} {day}|seat {d1}{d} on the {vehicle}|"
        "holiday in {holiday_place} was {kind_word}"
    ),
    "love": (
        "i miss you so much|i've been thinking about you {@pet}|cheer me up {@pet}|thinking of you|"
        "sweet dreams {@pet}|i love you {@pet}|can't wait to see you|did you dream of me?|"
        "you make me so {feeling}|wish you were here|i'm sorry about {day}|"
        "are you still angry with me?|you looked {kind_word} {day}|give me a kiss|"
        "my heart is yours|call me before you sleep {@pet}|i want to hold you|"
        "you are so {kind_word}|{who} asked about us|a year together {day}|do you still love me?|"
        "i bought you {gift}"
    ),
    "health": (
        "i've got {@ailment}|how's {@ailment} now?|the doctor said it's {@ailment}|take some rest|"
        "i'm at the hospital with {who}|the dentist is at {clock}|feeling {feeling} {day}|"
        "did you take the tablets?|get well soon|i've been in bed since {day}|"
        "{who} has {ailment} too|drink lots of water|my back is killing me|"
        "the nurse will call {day}|can't come, got {@ailment}|is the chemist still open?|"
        "the results come {day}"
    ),
    "money": (
        "i owe you {price}|can you lend me {price}?|it was only {price} in {@shop}|"
        "{@shop} has a sale on {day}|i saw a {brand} for {price} in {@shop}|"
        "the {chore} is {price} this month|did you pay the {chore}?|my bank account is empty|"
        "i got a free {thing} with my {thing}|{percent} off at {@shop} {day}|need to buy a {thing}|"
        "the cash machine ate my card|send me your account number and i'll pay you back|"
        "i spent {price} on {gift}|how much is the {thing}?|they charged me {price}|"
        "i've got a voucher for {@shop}|is {price} too much for a {thing}?|"
        "queue at {@shop} is huge|the {brand} is cheaper online"
    ),
    "phone": (
        "my battery is dying|i changed my number|been trying to get you all day|"
        "this is my new number|my new number is {mobile}|i have no credit|call me on {mobile}|"
        "call me at home on {landline}|can't hear you, text me|which network are you on?|"
        "got a new {brand} {day}|my phone was on silent|i sent you a picture|"
        "did you get my message?|{@network} put me on hold for {minutes} minutes|"
        "i get free texts on {@network}|sorry missed your call|you can reach me on {landline}|"
        "how do i change my ringtone?|is that {friend}'s number?|text me the address|"
        "i'll call you from the landline|my {network} contract ends {day}|"
        "who keeps calling from {helpline}?|reply when you can"
    ),
    "party": (
        "happy birthday {@pet}|are you coming out {day}?|happy birthday {@friend}|"
        "party at {@place} {day}|are you coming to {friend}'s birthday?|bring some drinks|"
        "what should i wear {day}?|i'm so drunk|thanks for {gift}|we got {who} {gift}|"
        "it's {small_number} pounds to get in|{friend} is having people round {day}|great night|"
        "you missed a {kind_word} party|who's bringing the cake?|happy new year|merry christmas|"
        "the club is free before {clock}|i've put you on the guest list|"
        "{who} is dancing on the table"
    ),
    "screen": (
        "are you watching {@film}?|{@film} is on at {clock}|have you heard {@music}?|"
        "shall we see {@film} {day}?|{@film} was {kind_word}|turn on channel {small_number}|"
        "i voted for {friend} on {film}|{who} has tickets for {@music}|can you tape {@film}?|"
        "{@music} is on the radio|i download {music} from the web|got {@film} on DVD|"
        "the ending of {@film} was {kind_word}|i'm reading about {@film} online|lend me {@music}|"
        "two tickets for {film} at {clock}"
    ),
    "home": (
        "did you lock the door?|{who} has the {thing}|have you seen my {thing}?|"
        "i left my {@thing} at {@place}|can you do the {@chore}?|the {@chore} is done|"
        "the plumber comes {day}|{who} is asleep|feed the cat please|my {@thing} is on the table|"
        "mum wants to know when you're home|the landlord called about the {@chore}|"
        "whose {thing} is this?|bring my {@thing} {day}|there's no hot water|i'm tidying the flat|"
        "{who} is visiting {day}|we need a new {thing}|the post came, there's a letter for you"
    ),
    "luck": (
        "i won {price} in the raffle|some text says i have won {win_amount}, must be a scam|"
        "did you win anything?|{who} won a {brand} in that competition|"
        "i entered the draw for {music}|"
        "never claim a prize from a text, they charge you {price} a minute|"
        "our lottery numbers came up, {price} each|"
        "got a call saying i've been selected for a free holiday|is this {win_amount} prize real?|"
        "i keep getting texts about {win_amount}, how do i stop them?|"
        "you should enter, first prize is a {brand}|the winner was {friend}, congratulations|"
        "free entry {day} if you want to come|the pub quiz prize is {price}|"
        "what's the answer to question {small_number}? urgent|they say text WIN to {ddd}{dd}, don't"
    ),
    "urgent": (
        "urgent, please call {who}|please call me as soon as you get this|"
        "it's important, ring me on {mobile}|call {who} now, it's urgent|"
        "i need your answer by {clock}|last chance to come with us {day}|please reply today|"
        "can you send the code? it's {reference}|the offer on the house was accepted|"
        "final call for the {vehicle}, hurry|don't miss the {contest} {day}|text me your email now|"
        "please confirm you are coming {day}|claim your expenses by {day}"
    ),
}

HONEST_FIRMS = {
    "honest_hook": (
        "call us on {@helpline}|ring {@landline} with any questions|reply YES to confirm|"
        "reply NO to cancel|see www.{@honest_site}.co.uk|text STOP to {ddd}{dd} to opt out|"
        "call free on {@helpline}|please do not reply to this message|"
        "quote {reference} when you call|more at www.{@honest_site}.co.uk|text HELP to {ddd}{dd}|"
        "T&Cs apply"
    ),
    "honest_site": "surgery|parcels|cityrail|books|tickets|mobile|council|college|dentist|bank",
    "win_amount": "£100|£500|£1000|£2000|a free holiday|a new car|a free {brand}|£250 cash",
    "firm_opening": "hi {friend}|dear customer|hello|dear {friend}|reminder|thank you|dear member",
    "firm": (
        "your order {reference} is ready to collect from {@shop}|"
        "your appointment is {day} at {clock}|"
        "your {brand} repair is done, please collect it from {@shop}|"
        "your {@network} bill of {price} is ready|"
        "the {vehicle} to {city} is delayed by {minutes} minutes|your book is due back on {date}|"
        "please call the surgery on {landline} about your results|"
        "your delivery will arrive {day} between {hour} and {hour}|"
        "your top up of {price} was successful|your balance is {price}|"
        "your booking reference is {reference}|please call us on {helpline} to rearrange|"
        "thanks for shopping at {@shop}, your points balance is {ddd}|"
        "your table for {small_number} is booked for {clock}|your parcel is with your neighbour|"
        "payment of {price} received on {date}|"
        "your ticket code is {reference}, show it at the door|"
        "school is closed {day} due to {weather}|your new card is in the post|"
        "we tried to call you about your {thing}, please ring {landline}|"
        "{percent} off at {@shop} {day} with your card|your free delivery code is {reference}|"
        "reply YES to confirm your appointment {day}|your {@network} contract ends on {date}|"
        "you have {ddd} points on your {@shop} card|"
        "your prize from the school raffle is at the office|"
        "to stop these reminders text STOP to {dddd}{d}|"
        "your voicemail has {small_number} new messages|"
        "congratulations, your application was accepted, call us on {landline}|"
        "the {brand} you ordered is delivered {day}, ref {reference}|"
        "your {holiday_place} flight is {reference}, see our site to check in|"
        "final reminder, your rent of {price} is due {day}"
    ),
}

RULES = (SMALL_TALK, SUBJECTS, HONEST_FIRMS)

SUBJECT_NAMES = tuple(SUBJECTS)
